"""Inputs and weights for measuring virnucpro, and measurements. No module imports the package until it measures."""
