"""Curves: what the pictures of an evaluation say, and that they look like the others."""

import re

import pytest

from virnucpro.reporting import curves
from virnucpro.reporting.pictures import FAST, INK, LINES, WORSE

POINTS = [[0, 0], [0.2, 0.9], [1, 1]]
BINS = [
    {"count": 3, "mean_score": 0.05, "virus": 0.0},
    {"count": 0, "mean_score": None, "virus": None},
    {"count": 9, "mean_score": 0.95, "virus": 1.0},
]


def words(svg):
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize(
    "svg, label, axes, names",
    [
        (
            curves.roc({"frames": POINTS, "chunks": POINTS}),
            "Recall by false positive rate",
            ("false positive rate", "recall of virus"),
            ("frames", "chunks"),
        ),
        (
            curves.precision_recall({"this one": POINTS, "5-mers": POINTS}, 0.5),
            "Precision by recall",
            ("recall of virus", "precision"),
            ("this one", "5-mers"),
        ),
        (
            curves.reliability({"frames": BINS, "chunks": BINS}),
            "Share of viruses by score",
            ("mean score of virus", "share of viruses"),
            ("frames", "chunks"),
        ),
    ],
    ids=["roc", "precision_recall", "reliability"],
)
def test_a_line_for_each_name(svg, label, axes, names):
    assert svg.startswith(f'<svg role="img" aria-label="{label}" ')
    assert {*axes, *names} <= {*words(svg)}
    assert LINES[0] in svg and LINES[1] in svg and LINES[2] not in svg
    assert INK not in svg and "currentColor" in svg and "<script" not in svg


def test_losses():
    svg = curves.losses([0.7, 0.5, 0.4], [0.7, 0.6, 0.65], 2)
    assert {"training", "validation", "kept: epoch 2", "epoch", "loss"} <= {*words(svg)}
    assert FAST in svg and WORSE in svg
    assert [word for word in words(svg) if word.isdigit()] == ["1", "2", "3"]  # no half epochs


def test_nothing_to_draw_is_an_empty_picture():
    for svg in (curves.roc({}), curves.precision_recall({}), curves.reliability({"x": BINS[1:2]})):
        assert svg.startswith("<svg ")


def test_a_picture_is_the_same_each_time():
    assert curves.roc({"x": POINTS}) == curves.roc({"x": POINTS})


def test_names_are_escaped():
    assert "a &lt;b&gt; &amp; c" in curves.roc({"a <b> & c": POINTS})
