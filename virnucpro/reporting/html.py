"""HTML: pages in one file, from templates: no script, nothing fetched."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Fill a template of this folder; text is escaped, and a value that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("virnucpro.reporting", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)
