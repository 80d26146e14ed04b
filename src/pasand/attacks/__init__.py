"""Shilling attacks: profiles that push an item, their injection, their effect, and their detection."""
