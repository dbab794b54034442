"""Skip: why a benchmark cannot run here. asv takes any NotImplementedError of `setup` so; torch raises those, too."""


class Skip(NotImplementedError):
    """Meant as a skip, unlike what torch says of an operation that it lacks."""
