"""Hooks of the site: what MkDocs has to be told in Python."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import griffe

# mkdocs-click imports the program; no torch comes with that.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
THEIRS, OURS = "https://unpkg.com/iframe-worker/shim", "javascripts/search_from_disk.js"


class OurDocstrings(griffe.Extension):
    """What our docstrings are and others' are not."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """No blank line parts "Returns:" and "Raises:" from what is before them."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"\n+(?=(?:Returns|Raises|Yields):\n)", "\n\n", obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: object) -> None:
        """A field of a dataclass is described by the comment that ends its line."""
        if attr.docstring is None and attr.lineno and attr.parent and attr.parent.is_class and attr.annotation:
            _, mark, comment = attr.lines[-1].partition("  # ")
            if mark:
                attr.docstring = griffe.Docstring(comment, lineno=attr.lineno, parent=attr)


def on_post_page(output: str, page: object, config: object) -> str:
    """Nothing is fetched from elsewhere: the theme's script for searching from disk is replaced with our own."""
    return output.replace(THEIRS, "../" * page.url.count("/") + OURS)


def on_post_template(output_content: str, template_name: str, config: object) -> str:
    """Likewise for 404.html, which can be shown at any address."""
    return output_content.replace(THEIRS, "/" + OURS)
