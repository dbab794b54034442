"""One device: windows become features and scores."""
