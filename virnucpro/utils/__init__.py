"""Measuring a run: telemetry, hardware, and the report on both."""
