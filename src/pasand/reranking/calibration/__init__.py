"""Calibration of lists to the categories of the user's own history."""
