"""One published model as an immutable directory."""
