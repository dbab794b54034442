"""What a run cost, shown."""
