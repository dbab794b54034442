"""The labelled set: its figures by hand, and beside scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks.support import labelled

SCORES = {"virus_a_chunk_1": 0.9, "virus_b_chunk_1": 0.4, "o_chunk_1": 0.4, "o_chunk_2": 0.2}


def test_figures_by_hand():
    # Of four pairs three are in order, and one is a tie.
    assert labelled.judged(SCORES, SCORES) == {"auroc": 3.5 / 4, "agreement": 100}
    other = SCORES | {"virus_b_chunk_1": 0.5, "o_chunk_2": 0.6}
    assert labelled.judged(other, SCORES) == {"auroc": 3 / 4, "agreement": 50}


def test_other_chunks_are_no_comparison():
    with pytest.raises(RuntimeError, match="3 chunks have a score, and 4 have one in float32"):
        labelled.judged(dict(list(SCORES.items())[:3]), SCORES)


def test_a_score_that_is_no_number_is_a_failure():
    with pytest.raises(RuntimeError, match="1 of 4 chunks have a score that is no number"):
        labelled.judged(SCORES | {"virus_a_chunk_1": float("nan")}, SCORES)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=50))
def test_auroc_is_that_of_scikit_learn(pairs):
    virus_C, score_C = (np.array(column) for column in zip(*pairs, strict=True))
    if 0 < virus_C.sum() < len(virus_C):
        assert labelled.auroc(virus_C, score_C) == pytest.approx(roc_auc_score(virus_C, score_C), abs=1e-12)


def test_a_table_as_every_release_writes_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1\nvirus_a_chunk_1\tTrue\t0.25\t0.75\n")
    assert labelled.chunk_scores(path) == {"virus_a_chunk_1": 0.75}
