"""Telemetry and totals, by the paths that scripts import them from."""
