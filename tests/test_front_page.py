"""The front page and the README's picture, without a browser: what they show of 8 bits, and that they do without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toy_suite

from benchmarks.site import front_page, speed_picture

SECONDS = "commands.EmbedProteins{}.track_wall_seconds"


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Measured on a GPU: v1.0 in 240 s, v2.0, which is another package than HEAD, in 30 s."""
    repo = tmp_path / "toy"
    commits = toy_suite.make(repo)
    toy_suite.results(repo, "nvidia-h100", commits["v1.0"], {(SECONDS.format(""), "gpu-10k", "default"): 240.0})
    toy_suite.results(repo, "nvidia-h100", commits["v2.0"], {(SECONDS.format(""), "gpu-10k", "default"): 30.0})
    return repo, commits


def in_8_bits(repo: Path, commits: dict[str, str]) -> None:
    """HEAD in turn with v1.0: 30 s, in 8 bits 20."""
    runs = [(commits["v1.0"], "default", 260.0)]
    for _ in range(3):
        runs += [(commits["HEAD"], "default", 30.0), (commits["HEAD"], "default", 20.0, "EmbedProteinsInt8")]
        runs += [(commits["v1.0"], "one", 240.0)]
    toy_suite.turns(repo, "nvidia-h100", runs)


def shown(repo: Path) -> str:
    return re.sub(r"<[^>]+>|\s+", " ", front_page.page(repo / "results", repo))


def test_without_8_bits_the_page_says_nothing_of_them(toy):
    assert "8 bits" not in shown(toy[0])


def test_the_page_shows_8_bits_beside_16_and_the_claim_of_them(toy):
    repo, commits = toy
    in_8_bits(repo, commits)
    text = " ".join(shown(repo).split())
    head = commits["HEAD"][:8]
    assert f"{head} 30.0 s (8.0x as fast) {head} in 8 bits 20.0 s (12.0x as fast)" in text
    assert f"embed proteins (10,000) in 8 bits {head} default 20.0 500.0" in text
    assert (
        "The claim: 11 times as fast as v1.0 or more in embedding 10,000 proteins with the 3B model in 8 bits" in text
    )
    assert text.count("PASS") == 4 and text.count("target 11: PASS") == 1  # each as a heading and in a sentence
    assert "5.2 times" not in text  # of reads nothing is measured


def test_the_picture_has_a_bar_of_8_bits_for_the_release_that_has_them(toy, monkeypatch):
    charts = pytest.importorskip(
        "benchmarks.site.charts", reason="matplotlib is not installed: pip install '.[report]'"
    )
    repo, commits = toy
    groups = []
    monkeypatch.setattr(charts, "releases", lambda found, title: groups.append(found[0][1]) or "<svg>")
    monkeypatch.setattr(speed_picture, "_steps", lambda results: "<svg>")
    monkeypatch.setattr(speed_picture, "on_paper", str)
    speed_picture.drawn(repo)
    assert groups.pop() == [("v1.0", 240.0), ("v2.0", 30.0)]
    both = {(SECONDS.format(""), "gpu-10k", "default"): 30.0, (SECONDS.format("Int8"), "gpu-10k", "default"): 20.0}
    toy_suite.results(repo, "nvidia-h100", commits["v2.0"], both)
    speed_picture.drawn(repo)
    assert groups.pop() == [("v1.0", 240.0), ("v2.0", 30.0), ("v2.0 in 8 bits", 20.0)]


def test_a_picture_may_have_groups_of_unlike_numbers_of_bars():
    charts = pytest.importorskip(
        "benchmarks.site.charts", reason="matplotlib is not installed: pip install '.[report]'"
    )
    bars = [("v1.0", 240.0), ("v2.1", 30.0), ("v2.1 in 8 bits", 20.0)]
    svg = charts.releases([("proteins", bars), ("reads", bars[:2])], "Seconds")
    assert svg.count("v2.1 in 8 bits: 20.0 s (12.0x as fast)") == 1 and svg.count("v1.0: 240.0 s") == 2
