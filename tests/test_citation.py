"""CITATION.cff: that it is what GitHub and Zenodo read, and that a release is not cited as the one before it."""

from __future__ import annotations

import re
from datetime import date

import pytest
from conftest import ROOT
from packaging.version import Version

import virnucpro

yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_asks_for(citation):
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "MIT"
    for each in citation["references"]:
        assert {"type", "title", "authors", "year", "doi"} <= each.keys()
        assert re.fullmatch(r"10\.\d{4,}/\S+", each["doi"])


def test_it_cites_the_newest_release(citation):
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest, released = re.search(r"^## (\S+) \((\S+)\)$", changes, re.MULTILINE).groups()
    assert (citation["version"], citation["date-released"]) == (newest, released)
    date.fromisoformat(released)
    # On the way to the next release the version has a dev in it; in a release it is that one.
    running = Version(virnucpro.__version__)
    assert Version(newest) == running or (running.is_devrelease and Version(newest) < running)
