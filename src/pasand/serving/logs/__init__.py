"""Logs that the service writes, requests and impressions, and the attribution of events to impressions."""
