"""Labelled sequences become a classifier."""
