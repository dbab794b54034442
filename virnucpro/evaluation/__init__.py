"""How right the verdicts are."""
