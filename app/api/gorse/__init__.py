"""Gorse's REST API over our services: how its bodies and queries are read and its answers written."""
