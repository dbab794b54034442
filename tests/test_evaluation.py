"""Evaluation: figures by hand and by scikit-learn, their intervals, the tables, and what is shown of them."""

import json
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from virnucpro.errors import BadInput, BadRequest
from virnucpro.evaluation import bootstrap, page
from virnucpro.evaluation.metrics import figures, metrics
from virnucpro.evaluation.tables import by_group, by_length, confusion, reliability
from virnucpro.evaluation.thresholds import MOST_POINTS, TRIED, at_prevalence, curves, precision, thresholds
from virnucpro.evaluation.units import CALLS, Units

NAN = float("nan")
ROUNDING = 1e-12  # sums of at most some thousand numbers up to 1


def units(rows, level="chunk"):
    """Of (virus, score, call, source, group, bp)."""
    virus, scores, calls, sources, groups, lengths = zip(*rows) if rows else [()] * 6
    numbers = np.array(virus, bool), np.array(scores, float)
    return Units(level, [f"u{i}" for i in range(len(rows))], *numbers, calls, sources, groups, np.array(lengths, int))


SMALL = units(
    [
        (True, 0.9, "virus", "A", "phage", 299),
        (True, 0.8, "virus", "A", "phage", 300),
        (True, 0.4, "Ambiguous", "B", "RNA", 499),
        (True, NAN, "no open frame", "B", "phage", 500),
        (False, 0.7, "virus", "C", "bacteria", 500),
        (False, 0.2, "others", "C", "bacteria", 500),
        (False, 0.1, "others", "D", "", 10000),
        (False, NAN, "failed", "E", "", 9999),
    ]
)
rows = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(st.integers(0, 20).map(lambda part: part / 20), st.just(NAN)),
        st.sampled_from(CALLS),
        st.sampled_from("ABCDEF"),
        st.sampled_from(["phage", "bacteria", ""]),
        st.integers(0, 20000),
    ),
    max_size=40,
)


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_figures_by_hand():
    virus_N, score_N = np.array([1, 1, 1, 0, 0, 0], bool), np.array([0.9, 0.8, 0.4, 0.7, 0.2, 0.1])
    assert figures(virus_N, score_N) == pytest.approx(
        {
            "accuracy": 4 / 6,  # all but 0.4 and 0.7
            "auroc": 8 / 9,  # of 9 pairs one is the wrong way round: 0.4 and 0.7
            "auprc": (1 / 1 + 2 / 2 + 3 / 4) / 3,  # precision at each virus
            "recall_virus": 2 / 3,
            "recall_others": 2 / 3,
            "brier": (0.01 + 0.04 + 0.36 + 0.49 + 0.04 + 0.01) / 6,
            "ece": (0.1 + 0.2 + 0.6 + 0.7 + 0.2 + 0.1) / 6,  # each in a bin of its own
        },
        abs=ROUNDING,
    )
    # twice the 0.4, once the 0.7: 6 others of the same bin weigh as much as one of weight 6
    weighted = figures(virus_N, score_N, np.array([1, 1, 2, 1, 0, 0]))
    assert weighted["accuracy"] == pytest.approx(2 / 5) and weighted["recall_others"] == 0
    assert weighted["auroc"] == pytest.approx(2 / 4)


def test_a_tie_is_a_virus():
    assert figures(np.array([True, False]), np.array([0.5, 0.5]))["accuracy"] == 0.5
    assert figures(np.array([True]), np.array([0.5]))["recall_virus"] == 1


def test_calibration_error_by_hand():
    """Two in a bin, of mean 0.25 and half of them viruses, and one of 0.9 alone: 2/3 * 0.25 + 1/3 * 0.1."""
    found = figures(np.array([True, False, True]), np.array([0.22, 0.28, 0.9]))
    assert found["ece"] == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 0.1)


@pytest.mark.parametrize(
    "classes, missing",
    [
        ([], {"accuracy", "auroc", "auprc", "recall_virus", "recall_others", "brier", "ece"}),
        ([True, True], {"auroc", "auprc", "recall_others"}),
        ([False, False], {"auroc", "auprc", "recall_virus"}),
    ],
)
def test_what_cannot_be_had_is_none(classes, missing):
    found = page.document({"chunk": units([(each, 0.9, "virus", "A", "", 5) for each in classes])})
    judged = found["levels"]["chunk"]["metrics"]
    assert {name for name, figure in judged.items() if isinstance(figure, dict) and figure["value"] is None} == missing
    assert all(figure["low"] is None for figure in judged.values() if isinstance(figure, dict))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "nan" not in page.text(found) and page.render_page(found, page.draw(found))


def test_intervals_by_hand():
    """Viruses come from A (two, found) and B (one, missed), others from C and D (one each, right).

    A quarter of resamples have A twice, a quarter B twice: accuracy (4 + 2) / 6 and (0 + 2) / 4.
    """
    drawn = units([(True, 0.9, "virus", source, "", 1) for source in "AA"] + [(True, 0.1, "others", "B", "", 1)])
    others = units([(False, 0.2, "others", source, "", 1) for source in "CD"])
    virus_N, score_N = np.append(drawn.virus_N, others.virus_N), np.append(drawn.score_N, others.score_N)
    found = bootstrap.intervals(virus_N, score_N, [*drawn.sources, *others.sources])
    assert found["accuracy"] == (0.5, 1)
    assert (found["recall_virus"], found["recall_others"]) == ((0, 1), (1, 1))
    assert found["auroc"] == (0, 1)  # 0.1 is below 0.2


@pytest.mark.parametrize("sources", ["AAABC", "ABCDD", "AAADD", "ABCCC"])
def test_a_single_source_of_a_class_has_no_interval(sources):
    """Of three viruses and two others."""
    found = metrics(units([(i < 3, 0.1 * i, "virus", source, "", 1) for i, source in enumerate(sources)]))
    assert [figure["low"] for figure in found.values() if isinstance(figure, dict)] == [None] * 7
    assert found["accuracy"]["value"] == 2 / 5 and found["sources"] == len({*sources})


def test_a_source_of_both_classes_is_drawn_as_a_whole():
    """All hold a virus that is found; others, right, lie in A and B alone, so that 1 in 9 resamples has none."""
    found = [(True, 0.9, "virus", source, "", 1) for source in "ABC"]
    mixed = units(found + [(False, 0.1, "others", source, "", 1) for source in "AB"])
    judged = metrics(mixed)
    assert judged["auroc"] == judged["recall_others"] == {"value": 1, "low": 1, "high": 1}


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(2, 30))
def test_resamples_are_what_scikit_learn_has_for_each(seed, count, sources):
    generator = np.random.default_rng(seed)
    virus_N, source_N = generator.random(count) < 0.5, generator.integers(0, sources, count)
    score_N = generator.integers(0, 21, count) / 20  # with ties, and on the edges of bins
    weight_RS = generator.integers(0, 3, (5, sources)).astype(float)
    found = bootstrap.resampled(virus_N, score_N, source_N, weight_RS)
    for row, weight_S in enumerate(weight_RS):
        for name, value in figures(virus_N, score_N, weight_S[source_N]).items():
            expected = NAN if value is None else value
            assert found[name][row] == pytest.approx(expected, abs=ROUNDING, nan_ok=True), name


def test_memory_is_bounded_and_blocks_are_joined(monkeypatch):
    generator = np.random.default_rng(0)
    columns = generator.random(50) < 0.5, generator.random(50), generator.integers(0, 20, 50)
    weight_RS = generator.integers(0, 3, (7, 20)).astype(float)
    whole = bootstrap.resampled(*columns, weight_RS)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 100)  # two rows
    parts = bootstrap.resampled(*columns, weight_RS)
    for name, value_R in whole.items():
        assert parts[name] == pytest.approx(value_R, abs=ROUNDING, nan_ok=True)


@settings(max_examples=30)
@given(rows, st.integers(0, 5))
def test_the_same_input_gives_the_same_intervals_in_any_order(some, seed):
    judged = metrics(units(some), 50, seed)
    assert metrics(units(some), 50, seed) == judged
    other = metrics(units(some[::-1]), 50, seed)
    for name, figure in judged.items():
        assert other[name] == pytest.approx(figure, abs=ROUNDING), name


@given(rows)
def test_an_interval_is_in_order_and_within_bounds(some):
    for figure in metrics(units(some), 50).values():
        if isinstance(figure, dict) and figure["low"] is not None:
            assert 0 <= figure["low"] <= figure["high"] <= 1 + ROUNDING


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """Of 200 sets of 60 + 60 sources, each right with 0.8: 95 % hold it, give or take 3 sigma (4.6 %) and a percent
    that percentiles of so few are short of."""
    generator, held = np.random.default_rng(1), 0
    virus_N, sources = np.arange(120) < 60, [f"s{i}" for i in range(120)]
    for _ in range(200):
        right_N = generator.random(120) < 0.8
        low, high = bootstrap.intervals(virus_N, (virus_N == right_N).astype(float), sources, 200)["accuracy"]
        held += low <= 0.8 <= high
    assert 0.894 < held / 200 < 0.996


def test_another_seed_draws_otherwise():
    generator = np.random.default_rng(0)
    columns = generator.random(90) < 0.5, generator.random(90), [f"s{i}" for i in range(90)]
    one, other = (bootstrap.intervals(*columns, seed=seed)["auroc"] for seed in (0, 1))
    assert one != other and one == pytest.approx(other, abs=0.05)


def test_three_thousand_units_take_seconds():
    generator = np.random.default_rng(0)
    columns = generator.random(3000) < 0.5, generator.random(3000), [f"s{i % 600}" for i in range(3000)]
    begin = time.perf_counter()
    bootstrap.intervals(*columns)
    assert time.perf_counter() - begin < 10  # 0.5 s on two cores; the machine may be busy


@settings(max_examples=30)
@given(rows)
def test_auroc_is_of_the_order_alone(some):
    known = units(some)
    known = known.some(known.scored())
    assume(len({*known.virus_N.tolist()}) == 2)
    auroc = figures(known.virus_N, known.score_N)["auroc"]
    for other in (known.score_N**2, known.score_N / 3 + 0.5, np.exp(known.score_N - 1)):
        assert figures(known.virus_N, other)["auroc"] == pytest.approx(auroc, abs=ROUNDING)
    assert figures(~known.virus_N, known.score_N)["auroc"] == pytest.approx(1 - auroc, abs=ROUNDING)


def test_confusion():
    assert confusion(SMALL) == {
        "virus": {"virus": 2, "others": 0, "Ambiguous": 1, "no open frame": 1, "failed": 0},
        "others": {"virus": 1, "others": 2, "Ambiguous": 0, "no open frame": 0, "failed": 1},
    }
    assert confusion(SMALL.some(np.zeros(8, bool))) == {
        "virus": {"virus": 0, "others": 0},
        "others": {"virus": 0, "others": 0},
    }


@given(rows)
def test_every_unit_is_in_one_cell(some):
    known = units(some)
    table = confusion(known)
    assert {name: sum(row.values()) for name, row in table.items()} == {
        "virus": known.virus_N.sum(),
        "others": (~known.virus_N).sum(),
    }
    assert [*table["virus"]] == [*table["others"]] == [call for call in CALLS if call in {*known.calls, *CALLS[:2]}]


def figures_of(table, key):
    names = ("units", "virus", "scored", "accuracy", "recall", "auroc", "mean_score")
    return {row[key]: tuple(row[name] if row[name] is None else round(row[name], 4) for name in names) for row in table}


def test_groups():
    assert figures_of(by_group(SMALL), "group") == {
        # against 0.9, 0.8 and 0.4: 0.7 is below two, 0.2 below all: 5 of 6 pairs
        "bacteria": (2, 0, 2, 0.5, 0.5, 0.8333, 0.45),
        "phage": (3, 3, 2, 1.0, 1.0, 1.0, 0.85),  # one without a score
        "RNA": (1, 1, 1, 0.0, 0.0, 0.6667, 0.4),  # against 0.7, 0.2, 0.1
        "": (2, 0, 1, 1.0, 1.0, 1.0, 0.1),
    }
    assert [row["group"] for row in by_group(SMALL)] == ["RNA", "bacteria", "phage", ""]
    assert by_group(replace(SMALL, groups=[""] * 8)) == []


def test_a_group_of_both_classes_is_ranked_by_itself():
    """0.4 and 0.7, the wrong way round, whatever the others have."""
    found = by_group(replace(SMALL, groups=["", "", "x", "", "x", "", "", ""]))
    assert figures_of(found, "group")["x"] == (2, 1, 2, 0.0, 0.0, 0.0, 0.55)


def test_a_call_is_no_score():
    """A contig of 0.6 may be called Ambiguous: right by the threshold, and not called right."""
    found = by_length(units([(True, 0.6, "Ambiguous", "A", "", 5), (True, 0.9, "virus", "A", "", 5)], "contig"))
    assert (found[0]["accuracy"], found[0]["recall"]) == (1, 0.5)


def test_lengths():
    assert figures_of(by_length(SMALL), "length") == {
        "<300": (1, 1, 1, 1.0, 1.0, None, 0.9),
        "300-499": (2, 2, 2, 0.5, 0.5, None, 0.6),
        "500-999": (3, 1, 2, 0.5, 0.5, None, 0.45),  # the virus has no score
        "3000-9999": (1, 0, 0, None, None, None, None),
        ">=10000": (1, 0, 1, 1.0, 1.0, None, 0.1),
    }
    assert [row["length"] for row in by_length(SMALL)] == ["<300", "300-499", "500-999", "3000-9999", ">=10000"]


@given(rows)
def test_every_unit_is_of_one_length_and_one_group(some):
    known = units(some)
    assert sum(row["units"] for row in by_length(known)) == len(known)
    assert sum(row["units"] for row in by_group(known)) in ({len(known)} if any(known.groups) else {0})


def test_reliability():
    """0.05 and 0.1 share the lowest bin; an edge belongs to the bin below it."""
    known = units([(virus, score, "virus", "A", "", 1) for virus, score in ((True, 0.05), (False, 0.1), (True, 1.0))])
    table = reliability(known)
    assert table[0] == {"low": 0, "high": 0.1, "count": 2, "mean_score": pytest.approx(0.075), "virus": 0.5}
    assert table[9] == {"low": 0.9, "high": 1, "count": 1, "mean_score": 1, "virus": 1}
    assert [row["count"] for row in table[1:9]] == [0] * 8 and table[5]["virus"] is None


@given(rows)
def test_reliability_is_what_scikit_learn_has(some):
    known = units(some)
    full = [row for row in reliability(known) if row["count"]]
    scored = known.some(known.scored())
    assert sum(row["count"] for row in full) == len(scored)
    if len(scored):
        shares, means = calibration_curve(scored.virus_N, scored.score_N, pos_label=True, n_bins=10)
        assert [row["virus"] for row in full] == pytest.approx(shares, abs=ROUNDING)
        assert [row["mean_score"] for row in full] == pytest.approx(means, abs=ROUNDING)


def test_precision_where_viruses_are_rare():
    """Of 1,000 records 50 are viruses: 40 are found, and of the others 95."""
    assert precision(0.8, 0.1, 0.05) == pytest.approx(40 / (40 + 95))
    assert precision(0, 0, 0.05) is precision(None, 0.1, 0.05) is precision(0.1, None, 0.05) is None


def test_at_prevalence():
    found = at_prevalence(SMALL, 0.05)
    assert found.pop("allowed") == [
        # the lowest threshold without a false positive; one false of three would be too many
        {
            "allowed": rate,
            "threshold": 0.8,
            "recall": pytest.approx(2 / 3),
            "false_positive_rate": 0,
            "precision": value,
        }
        for rate, value in (
            (0.01, pytest.approx(2 / 60 / (2 / 60 + 0.95 * 0.01))),
            (0.05, pytest.approx(2 / 60 / (2 / 60 + 0.95 * 0.05))),
        )
    ]
    rates = {"recall": pytest.approx(2 / 3), "false_positive_rate": pytest.approx(1 / 3)}
    assert found == {"prevalence": 0.05, **rates, "precision": pytest.approx(2 / 60 / (2 / 60 + 0.95 / 3))}


def test_the_rate_itself_is_allowed():
    """One of 20 others is above the virus, which is above the rest: 5 %."""
    others = [(False, 0.9 if i == 0 else 0.1, "virus", "A", "", 1) for i in range(20)]
    found = at_prevalence(units([*others, (True, 0.8, "virus", "A", "", 1)]), 0.05)
    assert [(row["recall"], row["threshold"]) for row in found["allowed"]] == [(0, None), (1, 0.8)]


def test_no_threshold_keeps_the_rate():
    """The highest score is one of the others."""
    found = at_prevalence(units([(False, 1.0, "virus", "A", "", 1), (True, 0.9, "virus", "A", "", 1)]), 0.05)
    none = {"threshold": None, "recall": 0, "false_positive_rate": 0, "precision": 0}
    assert found["allowed"] == [{"allowed": rate, **none} for rate in (0.01, 0.05)]


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, NAN])
def test_a_prevalence_is_a_share(prevalence):
    with pytest.raises(BadRequest, match="between 0 and 1"):
        at_prevalence(SMALL, prevalence)


def test_thresholds():
    table = {row["threshold"]: [*row.values()][1:] for row in thresholds(SMALL, 0.05)}
    assert [*table] == [*TRIED] and len(TRIED) == 20 and TRIED[0] == 0.05 and TRIED[-2:] == (0.95, 0.99)
    rare = 2 / 60 / (2 / 60 + 0.95 / 3)
    assert table[0.5] == pytest.approx([2 / 3, 1 / 3, 2 / 3, rare, 1 - rare])
    assert table[0.1] == pytest.approx([1, 1, 1 / 2, 0.05, 0.95])  # >=: all of them
    assert table[0.9] == pytest.approx([1 / 3, 0, 1, 1, 0])
    assert table[0.95] == [0, 0, None, None, None]


def test_curves_have_their_ends_and_not_too_many_points():
    third = 1 / 3
    points = [(0, 0), (0, third), (0, 2 * third), (third, 2 * third), (third, 1), (1, 1)]
    assert np.array(curves(SMALL)["roc"]) == pytest.approx(np.array(points))
    points = [(0, 1), (third, 1), (2 * third, 1), (2 * third, 2 / 3), (1, 3 / 4), (1, 3 / 5), (1, 1 / 2)]
    assert np.array(curves(SMALL)["precision_recall"]) == pytest.approx(np.array(points))
    generator = np.random.default_rng(0)
    virus_N, score_N = generator.random(3000) < 0.5, generator.random(3000)
    many = units([(virus, score, "virus", "A", "", 1) for virus, score in zip(virus_N, score_N)])
    found = curves(many)
    assert {name: len(points) for name, points in found.items()} == dict.fromkeys(found, MOST_POINTS)
    assert (found["roc"][0], found["roc"][-1]) == ([0, 0], [1, 1])
    assert (found["precision_recall"][0], found["precision_recall"][-1]) == ([0, 1], [1, pytest.approx(virus_N.mean())])
    area = np.trapezoid(*np.array(found["roc"]).T[::-1]) if hasattr(np, "trapezoid") else None
    assert area is None or area == pytest.approx(figures(virus_N, score_N)["auroc"], abs=0.005)
    assert curves(SMALL.some(SMALL.virus_N)) == {"roc": None, "precision_recall": None}


def test_some_units():
    some = SMALL.some(SMALL.length_N >= 9999)
    assert (some.level, some.names, some.calls, some.sources) == (
        "chunk",
        ["u6", "u7"],
        ["others", "failed"],
        ["D", "E"],
    )
    assert (some.groups, some.length_N.tolist(), some.scored().tolist()) == (["", ""], [10000, 9999], [True, False])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"groups": ["x"]}, r"chunk: columns of \[1, 8\] rows"),
        ({"score_N": np.array([0.1, 1.5] * 4)}, "u1 has the score 1.5"),
        ({"score_N": np.array([-np.inf] * 8)}, "u0 has the score -inf"),
        ({"calls": ["perhaps"] * 8}, "call 'perhaps', known are virus, others"),
    ],
)
def test_units_that_cannot_be(change, message):
    with pytest.raises(BadInput, match=message):
        replace(SMALL, **change)


def test_baselines_are_judged_by_the_units_that_the_classifier_scored():
    """Perfect but for the two that have no score."""
    score_N = np.array([1, 1, 1, 0, 0, 0, 0, 1], float)
    found = page.document({"chunk": SMALL}, baselines={"chunk": {"GC": score_N}}, resamples=10)
    judged = found["levels"]["chunk"]["baselines"]["GC"]["metrics"]
    assert (judged["scored"], judged["accuracy"]["value"], judged["auroc"]["value"]) == (6, 1, 1)
    with pytest.raises(BadInput, match="GC has 7 scores of 8 chunks"):
        page.document({"chunk": SMALL}, baselines={"chunk": {"GC": score_N[:7]}})


TEXT = """\
  classifier             500_model.pth

Figures of what has a score, with 95 % intervals over sources
                                   chunks
scored                                  6
virus                                   3
others                                  3
sources                                 4
AUROC              0.889 (0.500 to 1.000)
AUPRC              0.917 (0.500 to 1.000)
accuracy           0.667 (0.333 to 1.000)
recall of virus    0.667 (0.000 to 1.000)
recall of others   0.667 (0.500 to 1.000)
Brier score        0.158 (0.020 to 0.297)
calibration error  0.317 (0.133 to 0.500)

Chunks: what they are, and what was said
        virus  others  Ambiguous  no open frame  failed
virus       2       0          1              1       0
others      1       2          0              0       1

Chunks by group
group       units  virus  scored  accuracy  called right  AUROC  mean score
RNA             1      1       1     0.000         0.000  0.667       0.400
bacteria        2      0       2     0.500         0.500  0.833       0.450
phage           3      3       2     1.000         1.000  1.000       0.850
(no group)      2      0       1     1.000         1.000  1.000       0.100

Chunks by length
length, bp  units  virus  scored  accuracy  called right  AUROC  mean score
<300            1      1       1     1.000         1.000      -       0.900
300-499         2      2       2     0.500         0.500      -       0.600
500-999         3      1       2     0.500         0.500      -       0.450
3000-9999       1      0       0         -             -      -           -
>=10000         1      0       1     1.000         1.000      -       0.100

Chunks where 5 % are viruses
threshold  recall  false positive rate  precision  false positives allowed
0.500       0.667                0.333      0.095
0.800       0.667                0.000      0.778                      1 %
0.800       0.667                0.000      0.412                      5 %

Chunks by threshold
threshold  recall  false positive rate  precision  precision at 5 % viral  false discovery rate at 5 % viral
0.05        1.000                1.000      0.500                   0.050                              0.950
0.10        1.000                1.000      0.500                   0.050                              0.950
0.15        1.000                0.667      0.600                   0.073                              0.927
0.20        1.000                0.667      0.600                   0.073                              0.927
0.25        1.000                0.333      0.750                   0.136                              0.864
0.30        1.000                0.333      0.750                   0.136                              0.864
0.35        1.000                0.333      0.750                   0.136                              0.864
0.40        1.000                0.333      0.750                   0.136                              0.864
0.45        0.667                0.333      0.667                   0.095                              0.905
0.50        0.667                0.333      0.667                   0.095                              0.905
0.55        0.667                0.333      0.667                   0.095                              0.905
0.60        0.667                0.333      0.667                   0.095                              0.905
0.65        0.667                0.333      0.667                   0.095                              0.905
0.70        0.667                0.333      0.667                   0.095                              0.905
0.75        0.667                0.000      1.000                   1.000                              0.000
0.80        0.667                0.000      1.000                   1.000                              0.000
0.85        0.333                0.000      1.000                   1.000                              0.000
0.90        0.333                0.000      1.000                   1.000                              0.000
0.95        0.000                0.000          -                       -                                  -
0.99        0.000                0.000          -                       -                                  -

Chunks: beside simple predictors
                                    AUROC                   AUPRC                accuracy             Brier score
(this classifier)  0.889 (0.500 to 1.000)  0.917 (0.500 to 1.000)  0.667 (0.333 to 1.000)  0.158 (0.020 to 0.297)
GC content         1.000 (1.000 to 1.000)  1.000 (1.000 to 1.000)  1.000 (1.000 to 1.000)  0.000 (0.000 to 0.000)

Where 50 % are viral, as here, figures look better than in a metagenome: with 5 % viral records the precision at a \
threshold of 0.5 is 0.095.
"""


def small_document():
    score_N = np.array([1, 1, 1, 0, 0, 0, 0, 1], float)
    about = {"subject": "genomes.tsv", "classifier": "500_model.pth"}
    return page.document({"chunk": SMALL}, 0.05, about, {"chunk": {"GC content": score_N}})


def test_text():
    found = page.text(small_document())
    first, _, rest = found.partition("\n")
    assert re.fullmatch(r"virnucpro \S+ evaluation of genomes\.tsv", first)
    assert rest == TEXT


def test_the_caution_names_each_level():
    found = page.document({level: replace(SMALL, level=level) for level in ("frame", "chunk")}, 0.1, resamples=10)
    assert page.caution(found) == (
        "Where 50 % are viral, as here, figures look better than in a metagenome: "
        "with 10 % viral records the precision at a threshold of 0.5 is 0.182 of frames, 0.182 of chunks."
    )


@pytest.mark.parametrize("prevalence, said", [
    (0.5, "With 50 % viral records the precision at a threshold of 0.5 is 0.667."),
    (0.499, "Where 50 % are viral, as here, figures look better than in a metagenome: with 49.9 % viral records "
     "the precision at a threshold of 0.5 is 0.666."),
])  # fmt: skip
def test_the_caution_is_of_what_was_judged(prevalence, said):
    assert page.caution(page.document({"chunk": SMALL}, prevalence, resamples=10)) == said


def test_the_page_fetches_nothing_and_shows_all():
    found = small_document()
    odd = replace(SMALL, groups=["<script>alert(1)</script>"] * 8)
    found["levels"]["chunk"]["groups"] = by_group(odd)
    drawn = page.draw(found)
    made = page.render_page(found, drawn)
    assert not re.search(r'(src|href)="[^#]', made) and "<script" not in made and "url(http" not in made
    assert "&lt;script&gt;alert" in made
    assert made.count("<svg ") == len(drawn) == 4
    assert "AUROC 0.889 (" in made and page.caution(found) in made and "500_model.pth" in made
    assert [heading for heading, _ in drawn] == re.findall("<h2>(.*)</h2>", made)[-4:]


def test_no_torch_is_loaded():
    modules = ", ".join(f"virnucpro.evaluation.{name}" for name in ("page", "baselines"))
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'matplotlib'}} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
