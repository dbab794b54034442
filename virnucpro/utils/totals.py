"""Totals, by the path that scripts import them from."""

from virnucpro.telemetry.totals import RankTotals, Totals, percentile_95, ratio, summarise

__all__ = ["RankTotals", "Totals", "percentile_95", "ratio", "summarise"]
