"""Finished windows become files."""
