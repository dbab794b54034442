"""virnucpro: tells viral from non-viral DNA with ESM-2 and DNABERT-S features."""

__version__ = "1.0.0"
