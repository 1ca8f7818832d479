"""Vocabulary, interactions and embeddings: what passes between the stages, as frozen numpy dataclasses."""
