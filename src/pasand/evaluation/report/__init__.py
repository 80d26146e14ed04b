"""The evaluation report: its contents, charts and one HTML file."""
