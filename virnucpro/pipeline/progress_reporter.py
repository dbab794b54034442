"""Progress reporter, by the path that scripts import it from."""

from virnucpro.reporting.progress import InferenceProgressReporter

__all__ = ["InferenceProgressReporter"]
