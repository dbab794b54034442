"""Commands: each parses its options, calls what does the work, and returns an exit code. No torch until needed."""
