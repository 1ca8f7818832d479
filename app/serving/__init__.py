"""From an artifact to ranked lists."""
