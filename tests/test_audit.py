"""The audit of 8 bits: what it draws, what it finds, and what a run does where it fails."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import packing
import pytest
import torch
from conftest import ESM_8M
from hypothesis import given
from hypothesis import strategies as st
from runs import WINDOWS, files_of, finished, options, stop_after
from spoilt import spoilt, spoilt_work_for

from virnucpro.engine.audit_sample import LEAST, SHARE, drawn, with_least
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.results import FinishedWindow, finish
from virnucpro.executors.coordinator import Coordinator
from virnucpro.models import quantised_esm2
from virnucpro.pipeline.audit import Audit, RunningAudit
from virnucpro.reading.reads import Read
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.windows import windows

pytestmark = pytest.mark.usefixtures("quick_workers", "quantised_once")
CPU = torch.device("cpu")
READS = ["ATGGCCAAAGTTCTGGACATGTTC", "TAATTAGTTAACTAATTAACTAGTTAA", "GCTAAAGTTCTGGACTTC", ""]
INT8 = ("--precision", "int8")


# The sample


def cut(counts, buffer_size):
    """Windows of a run of such reads (the second and the last have no open frame), and how many sequences each has."""
    reads = [Read(f"r{number}", READS[kind]) for number, kind in enumerate(counts)]
    every = list(with_least(windows(reads, "nucleotide", 500, buffer_size, 2048), "nucleotide"))
    return every, [len(sequences_of(window, "nucleotide").proteins) for window in every]


@given(st.lists(st.integers(0, 3), max_size=120), st.sampled_from([1, 3, 8, 40, 2048]))
def test_enough_is_drawn_whatever_the_windows_are(counts, buffer_size):
    every, sequences = cut(counts, buffer_size)
    draws = [drawn(window, count) for window, count in zip(every, sequences)]
    for places_A, count in zip(draws, sequences):
        assert places_A.dtype == np.int64
        assert sorted(set(places_A.tolist())) == places_A.tolist() == [p for p in places_A.tolist() if 0 <= p < count]
    assert sum(map(len, draws)) >= min(LEAST, sum(sequences))


@given(st.integers(0, 1000), st.integers(0, 64), st.integers(0, 3000), st.data())
def test_halves_draw_what_the_whole_draws(index, audited, sequences, data):
    (window,) = packing.windows_of({"r": "ATG"})
    window = replace(window, index=index, audited=audited)
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, sequences), max_size=3))), sequences]
    parts = [drawn(replace(window, only=(a, b)), sequences) + a for a, b in pairwise(edges)]
    assert np.concatenate(parts).tolist() == drawn(window, sequences).tolist()


def test_the_share_is_kept_and_no_place_is_preferred():
    (window,) = packing.windows_of({"r": "ATG"})
    draws = [drawn(replace(window, index=index), 300) for index in range(2000)]
    assert {len(places_A) for places_A in draws} == {2, 3}  # 300 / 128 = 2.34
    assert sum(map(len, draws)) == pytest.approx(2000 * 300 / SHARE, rel=0.03)
    assert np.bincount(np.concatenate(draws) // 100) == pytest.approx(2000 * 100 / SHARE, rel=0.1)


def test_the_first_windows_make_up_what_is_missing():
    every, sequences = cut([0] * 100, 40)  # 6 sequences each, in windows of 5, 10, 20, 40, ... reads
    assert sequences[:3] == [30, 60, 120]
    assert [window.audited for window in every] == [64, 34, 0, 0, 0]
    assert [len(drawn(window, count)) for window, count in zip(every, sequences)][:2] == [30, 34]


# What is computed


@pytest.fixture(scope="module")
def runner(weights):
    return ModelRunner(packing.recipe(weights, precision="int8", audit=True), CPU)


@pytest.fixture(scope="module")
def half(weights):
    return ModelRunner(packing.recipe(weights, precision="fp16"), CPU)


def result_of(runner, window):
    return runner.submit(FrontEnd(runner.config)[window]).result()


COPIES = {"r": "ATGGCCAAAGTT", "reverse": "AACTTTGGCCAT", "again": "ATGGCCAAAGTT"}


def window_of(reads, audited=64, **changes):
    (window,) = packing.windows_of(reads)
    return replace(window, audited=audited, **changes)


def test_the_sample_is_compared_with_16_bits(runner, half):
    """Numbers are those of the run in FP16, within what another pack does to them; copies are computed once."""
    found, exact = result_of(runner, window_of(COPIES)), result_of(half, window_of(COPIES))
    assert found.audited_A.tolist() == list(range(found.sequences)) and found.copies > 0
    np.testing.assert_allclose(found.reference_A2, exact.scores_S2, atol=2e-3)
    eight_SD, half_SD = found.features["esm2"].astype(float), exact.features["esm2"].astype(float)
    norms_S = np.linalg.norm(eight_SD, axis=1) * np.linalg.norm(half_SD, axis=1)
    np.testing.assert_allclose(found.cosines_AM[:, 0], (eight_SD * half_SD).sum(axis=1) / norms_S, atol=2e-5)
    assert exact.audited_A is exact.cosines_AM is exact.reference_A2 is None
    assert set(found.features) == {"esm2", "dnabert_s"}


def test_a_window_in_parts_is_audited_like_the_whole(runner):
    window = window_of(COPIES, audited=7)
    whole = finish(window, [result_of(runner, window)])
    middle = whole.sequences // 2
    halves = [replace(window, only=only) for only in ((0, middle), (middle, whole.sequences))]
    parts = finish(window, [result_of(runner, part) for part in halves])
    assert len(whole.audited_A) == 7
    assert parts.audited_A.tolist() == whole.audited_A.tolist()
    np.testing.assert_allclose(parts.cosines_AM, whole.cosines_AM, atol=2e-5)
    given_up = finish(window, [result_of(runner, halves[0]), runner.failed(FrontEnd(runner.config)[halves[1]], "lost")])
    assert given_up.audited_A.tolist() == [place for place in whole.audited_A.tolist() if place < middle]


@pytest.mark.parametrize("models", ["models", "references"])
def test_what_has_too_little_memory_is_not_audited(runner, monkeypatch, models):
    model = getattr(runner, models)["esm2"]
    forward = model.forward

    def limited(pack, attend, ops):
        if 6 in pack.lengths:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(pack, attend, ops)

    before = result_of(runner, window_of(COPIES))
    monkeypatch.setattr(model, "forward", limited)
    found = result_of(runner, window_of(COPIES))
    texts = sequences_of(window_of(COPIES), "nucleotide").proteins
    short = [place for place, protein in enumerate(texts) if len(protein) != 4]
    assert 0 < len(short) < len(before.audited_A) == len(texts)
    assert found.audited_A.tolist() == short
    assert np.isfinite(found.cosines_AM).all() and np.isfinite(found.reference_A2).all()
    assert len(found.failures) == (len(texts) - len(short) if models == "models" else 0)


# The verdict


def window(cosines, labels=(), index=0):
    """A finished window of so many audited sequences; of the labels some are True, which have changed."""
    count = len(cosines)
    ones = np.ones(count, np.int64)
    window = FinishedWindow(index, ["r"] * count, ones, ones, ones, ones.astype(np.uint8), 0, 0, {})
    window.audited_A, window.cosines_AM = np.arange(count), np.array(cosines, float)[:, None]
    if labels:
        window.scores_S2 = np.array([(0.75, 0.25)] * count, np.float32)
        window.reference_A2 = np.array([(0.25, 0.75) if changed else (0.75, 0.25) for changed in labels], np.float32)
    return window


@pytest.mark.parametrize(
    "cosines, changed, missed",
    [
        ([0.995] * 64, 0, []),
        ([0.9949] * 64, 0, ["mean cosine 0.9949, required 0.995"]),
        ([0.9] + [1.0] * 63, 0, []),
        ([0.8999] + [1.0] * 63, 0, ["least cosine 0.8999, required 0.9"]),
        ([np.nan] + [1.0] * 499, 0, ["least cosine -1.0000, required 0.9"]),
        ([1.0], 1, []),
        ([1.0] * 64, 4, []),
        ([1.0] * 64, 5, ["5 of 64 labels changed, allowed 4"]),
        ([1.0] * 2000, 34, []),
        ([1.0] * 2000, 35, ["35 of 2000 labels changed, allowed 34"]),
    ],
)
def test_each_bound(cosines, changed, missed):
    audit = Audit.of(window(cosines, [True] * changed + [False] * (len(cosines) - changed)))
    assert audit.missed == missed
    assert (audit.sequences, audit.labels, audit.labels_changed) == (len(cosines), len(cosines), changed)
    assert audit.score_difference == (0.5 if changed else 0.0)


def test_a_run_in_which_one_label_in_a_hundred_changes_is_seldom_refused():
    """Whatever the size of its sample: by the binomial distribution, summed up."""
    for labels in (*range(1, 400), 1000, 5000):
        allowed = Audit(labels=labels).labels_allowed
        passes = sum(math.comb(labels, k) * 0.01**k * 0.99 ** (labels - k) for k in range(allowed + 1))
        assert 1 - passes < 0.004, labels


def test_nothing_audited_is_nothing_missed():
    audit = Audit.of(FinishedWindow(0, [], *np.zeros((3, 0), np.int64), np.zeros(0, np.uint8), 0, 0, {})) + Audit()
    assert audit.missed == []
    assert audit.entry("int8", "fp16", "int8")["mean_cosine"] is None


def test_the_order_in_which_windows_finish_changes_no_verdict():
    """Bad ones are among the first 64, good ones make up for them later."""
    every = [window([0.99] * 40, index=0), window([0.99] * 40, index=1), window([1.0] * 999, index=2)]
    assert sum(map(Audit.of, every), Audit()).missed == []
    for order in ((0, 1, 2), (2, 1, 0), (2, 0, 1)):
        running = RunningAudit([])
        failed = [running.add(every[place]) for place in order]
        assert failed[-1] and running.audit.sequences == 80
        assert failed.index(True) == max(order.index(0), order.index(1))
    assert not RunningAudit(every[:1]).failed  # too few to tell
    assert RunningAudit(every).failed


# The run


@pytest.fixture
def bad_scale(monkeypatch):
    """Have the scales of one product four times as large as they should be, here and in workers."""
    monkeypatch.setattr(quantised_esm2, "quantised", spoilt)
    monkeypatch.setattr("virnucpro.executors.coordinator.Coordinator", partial(Coordinator, body=spoilt_work_for))


def predict(main, reads, out, *more):
    """Exit code, standard error, and the manifest."""
    code, said = main("predict", reads, *options(out), *INT8, *more)
    path = out / "reads_run.json"
    return code, said, json.loads(path.read_text()) if path.exists() else None


def tables(out):
    return {path.name: path.read_bytes() for path in (out / "reads_merged").iterdir()}


FAILED = "audit of int8 failed: mean cosine 0."
FALL_BACK = ("--audit", "fallback")
AGAIN = "Run again with --precision fp16, or add --resume --audit fallback."


@pytest.fixture(scope="module")
def half_tables(program, reads, tmp_path_factory):
    """What a run in FP16 writes."""
    out = tmp_path_factory.mktemp("half") / "out"
    done = program("predict", reads, *options(out), "--precision", "fp16", "--save-embeddings")
    assert done.returncode == 0, done.stderr
    return tables(out)


def test_a_bad_scale_is_told(main, reads, half_tables, tmp_path, bad_scale):
    out = tmp_path / "out"
    code, said, manifest = predict(main, reads, out, "--save-embeddings")
    assert code == 3
    (line,) = [line for line in said.splitlines() if FAILED in line]
    assert "ERROR Partial result: the audit of int8 failed" in line
    assert line.endswith(f" (64 of 202 sequences were computed in fp16 too). {AGAIN}")
    audit = manifest["audit"]
    assert (manifest["status"], manifest["settings"]["precision"], audit["failed"]) == ("partial", "int8", True)
    assert (audit["precision"], audit["reference"], audit["results"]) == ("int8", "fp16", "int8")
    assert (audit["sequences"], audit["labels"], len(audit["missed"])) == (64, 64, 3)
    assert audit["mean_cosine"] < 0.9 and audit["least_cosine"] < audit["mean_cosine"]
    assert json.loads((out / "telemetry_reads.json").read_text())["run_metadata"]["audit"] == audit
    before, windows = tables(out), finished(out)
    assert before.keys() == half_tables.keys() and before != half_tables

    code, said, again = predict(main, reads, out, "--save-embeddings", "--resume")
    assert (code, f"Resuming: {len(windows)} windows are done." in said, FAILED in said) == (3, True, True)
    assert (again["audit"], finished(out), tables(out)) == (audit, windows, before)

    code, said, manifest = predict(main, reads, out, "--save-embeddings", "--resume", *FALL_BACK)
    assert (code, manifest["status"], tables(out)) == (0, "complete", half_tables)
    assert manifest["audit"] == audit | {"results": "fp16"}


@pytest.mark.parametrize("workers", [(), ("--parallel",)], ids=["one", "two"])
def test_a_run_falls_back(main, reads, half_tables, tmp_path, bad_scale, workers):
    out = tmp_path / "out"
    code, said, manifest = predict(main, reads, out, "--save-embeddings", *FALL_BACK, *workers)
    assert (code, manifest["status"], manifest["settings"]["precision"]) == (0, "complete", "fp16")
    assert tables(out) == half_tables
    (line,) = [line for line in said.splitlines() if FAILED in line]
    assert "WARNING The audit" in line and line.endswith("(64 sequences). Falling back: all is computed in fp16.")
    audit = manifest["audit"]
    assert (audit["failed"], audit["results"], audit["sequences"]) == (True, "fp16", 64)
    telemetry = json.loads((out / "telemetry_reads.json").read_text())
    assert telemetry["run_metadata"]["audit"] == audit
    in_vain = telemetry["summary"]["batches"] - WINDOWS  # the first six windows have 64 sequences
    assert in_vain == 6 or (workers and 6 < in_vain <= WINDOWS)
    code, said, _ = predict(main, reads, out, "--save-embeddings", *FALL_BACK, "--resume")
    assert (code, "Nothing to do" in said) == (0, True)
    code, said, _ = predict(main, reads, out, "--save-embeddings", "--resume")
    assert (code, "other settings: precision (fp16 then, int8 now)" in said) == (2, True)


@pytest.mark.parametrize("count, before", [(2, "INT8"), (9, "FP16")])
def test_it_can_be_interrupted(main, reads, half_tables, tmp_path, bad_scale, monkeypatch, count, before):
    """While windows are computed in 8 bits, and when they are in 16."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        assert predict(main, reads, out, "--save-embeddings", *FALL_BACK)[0] == 130
    code, said, manifest = predict(main, reads, out, "--save-embeddings", *FALL_BACK, "--resume")
    assert (code, manifest["audit"]["sequences"], manifest["audit"]["results"]) == (0, 64, "fp16")
    assert "Resuming: " in said and f" (CPU): {before}" in said and (" (CPU): INT8" in said) == (before == "INT8")
    assert tables(out) == half_tables


def test_an_interrupted_audit_finds_the_same(main, reads, tmp_path, monkeypatch):
    code, said, manifest = predict(main, reads, tmp_path / "whole")
    assert (code, manifest["status"], manifest["audit"]["failed"]) == (0, "complete", False)
    assert "INFO The audit of int8 is passed: 64 of 202 sequences were computed in fp16 too: cosines 0.9999 on" in said
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert predict(main, reads, tmp_path / "out")[0] == 130
    resumed = predict(main, reads, tmp_path / "out", "--resume", "--parallel")
    fallback = predict(main, reads, tmp_path / "fallback", *FALL_BACK)
    assert resumed[0] == fallback[0] == 0
    assert resumed[2]["audit"] == fallback[2]["audit"] == manifest["audit"]
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fallback") == files_of(tmp_path / "whole")


def test_a_few_proteins_are_judged_in_the_end(main, tmp_path, bad_scale):
    fasta = tmp_path / "p.faa"
    fasta.write_text(">a\nMKVLAAGIVG\n>none\n*\n>b\nMKV\n")
    run = ("predict", fasta, "--esm-model", ESM_8M)
    code, said = main(*run, *INT8, "--output-dir", tmp_path / "told")
    assert (code, "(2 of 2 sequences were computed in fp16 too)" in said) == (3, True)
    assert main(*run, "--precision", "fp16", "--output-dir", tmp_path / "half")[0] == 0
    code, said = main(*run, *INT8, *FALL_BACK, "--output-dir", tmp_path / "out")
    assert (code, "(2 sequences). Falling back" in said) == (0, True)
    both = [(tmp_path / name / "p_merged" / "embeddings.h5").read_bytes() for name in ("half", "out")]
    assert both[0] == both[1]
    audit = json.loads((tmp_path / "out" / "p_run.json").read_text())["audit"]
    assert (audit["labels"], audit["score_difference"]) == (0, None)


def test_other_precisions_are_not_audited(main, reads, tmp_path):
    assert main("predict", reads, *options(tmp_path / "out"), "--precision", "fp16")[0] == 0
    assert "audit" not in json.loads((tmp_path / "out" / "reads_run.json").read_text())


@pytest.mark.parametrize("scales", ["good", "bad"])
def test_the_report_shows_the_audit(main, reads, tmp_path, request, capfd, scales):
    if scales == "bad":
        request.getfixturevalue("bad_scale")
    assert predict(main, reads, tmp_path / "out")[0] == (3 if scales == "bad" else 0)
    capfd.readouterr()
    assert main("report", tmp_path / "out")[0] == 0
    text = (tmp_path / "out" / "performance_report_reads.txt").read_text()
    section = text[text.index("Audit of int8\n") : text.index("\n\nRequirements")]
    (finding,) = [line for line in text.splitlines() if line.startswith("  audit of 8 bits")][:1]
    page = (tmp_path / "out" / "performance_report_reads.html").read_text()
    assert "<h2>Audit of int8</h2>" in page and "audit of 8 bits &lt; 1 bounds missed" in page
    if scales == "bad":
        assert finding == "  audit of 8 bits < 1 bounds missed, results in int8: FAIL 3 bounds missed"
        assert "$ virnucpro predict INPUT --output-dir DIR --precision int8 --resume --audit fallback" in text
    else:
        assert finding == "  audit of 8 bits < 1 bounds missed, results in int8: PASS 0 bounds missed"
        assert re.sub(r"0\.9999|0\.0072", "X", section) == (
            "Audit of int8\n"
            "  results              in int8\n"
            "  sequences            64 in fp16 too\n"
            "  mean cosine          X (required 0.995)\n"
            "  least cosine         X (required 0.9)\n"
            "  labels changed       0 of 64 (allowed 4)\n"
            "  score difference     X at most"
        )
