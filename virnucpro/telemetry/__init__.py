"""What a run cost, recorded."""
