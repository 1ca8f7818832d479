"""Gorse's users, items and feedback, and what they are in our words."""
