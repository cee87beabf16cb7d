"""Bytes a model takes once loaded, from its metadata and its load shape."""
