"""Models, one file each; the folder is the register."""
