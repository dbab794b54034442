"""Inputs and weights for measuring virnucpro. Nothing here imports the package that is measured."""
