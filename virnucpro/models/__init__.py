"""What a GPU computes for one pack."""
