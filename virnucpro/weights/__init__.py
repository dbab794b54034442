"""Fetching weights, and checking them."""
