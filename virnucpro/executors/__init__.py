"""Where windows are computed."""
