"""The background process that retrains."""
