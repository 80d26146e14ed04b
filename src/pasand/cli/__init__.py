"""The command line `pasand`, one file per command."""
