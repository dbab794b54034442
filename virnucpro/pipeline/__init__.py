"""The pipeline, from reads to report."""
