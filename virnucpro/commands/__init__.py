"""What a user types: each command parses its options, calls what does the work, and returns an exit code."""
