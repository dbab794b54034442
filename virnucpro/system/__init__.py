"""The machine; it knows no sequence and no model."""
