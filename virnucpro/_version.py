"""The version; read as text by setup.py and the benchmarks, so it is one plain line."""

__version__ = "2.2.0.dev0"
