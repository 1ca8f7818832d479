"""Everything that is read from and written to MongoDB."""
