"""One run, from the input to the report."""
