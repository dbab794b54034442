"""What was asked for becomes what is done. No torch here."""
