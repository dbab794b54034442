"""A file becomes windows. No torch here."""
