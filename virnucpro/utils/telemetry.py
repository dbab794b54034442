"""Telemetry, by the path that scripts import it from."""

from virnucpro.reporting.performance_report import generate_performance_report
from virnucpro.system.hardware import GpuUtilization, capture_hardware_info
from virnucpro.telemetry.documents import aggregate_telemetry_shards
from virnucpro.telemetry.recorder import TelemetryLogger, calculate_scaling_efficiency

__all__ = [
    "GpuUtilization", "TelemetryLogger", "aggregate_telemetry_shards", "calculate_scaling_efficiency",
    "capture_hardware_info", "generate_performance_report",
]  # fmt: skip
