"""The command `pasand`."""


def run() -> None:
    """Run the command line."""
