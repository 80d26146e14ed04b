"""Formats that a log may come in, one file each; the folder is the register."""
