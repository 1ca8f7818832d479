"""A trained model as a directory of files: written whole, verified when read."""
