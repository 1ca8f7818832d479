"""What crosses HTTP, as Pydantic models."""
