"""Runtime configuration, by the path that scripts import it from."""

from virnucpro.config.runtime import RuntimeConfig

__all__ = ["RuntimeConfig"]
