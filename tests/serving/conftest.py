"""Hypothesis without a time limit for each example: on a busy machine it would fail by chance."""

from hypothesis import settings

settings.register_profile("coursegraph", deadline=None)
settings.load_profile("coursegraph")
