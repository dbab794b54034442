"""`virnucpro parity`: the sample, the comparison, and what is said of it."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import DATA, ESM_8M
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.diagnostics.comparison import Agreement, cosines
from virnucpro.diagnostics.parity_report import shortfalls, text
from virnucpro.reading.chunks import chunks
from virnucpro.reading.reads import Read
from virnucpro.reading.sampling import sample

REAL = DATA / "real_mixed.fa"
TWO_OF_THEM = (0, 7)  # dengue virus 1 and a piece of a bacterium: 52 chunks
reads = st.lists(st.text("ACGT", max_size=40), max_size=12).map(
    lambda texts: [Read(f"r{number}", text) for number, text in enumerate(texts)]
)


@given(reads, st.integers(1, 30))
def test_a_sample_is_some_of_the_chunks_in_order(given_reads, count):
    every = [(chunk.name, chunk.sequence) for read in given_reads for chunk in chunks(read, 9)]
    drawn = [
        (f"{piece.name}_chunk_{piece.first + 1}", piece.sequence)
        for piece in sample(given_reads, "nucleotide", 9, count)
    ]
    assert len(drawn) == min(count, len(every))
    places = [every.index(one) for one in drawn]
    assert all(a < b for a, b in pairwise(places))
    if count >= len(every):
        assert drawn == every


def test_every_chunk_has_the_same_chance():
    """Of 1,000 records 100 are drawn; each tenth of the input gets 10, give or take what chance allows (3 sigma: 9)."""
    drawn = sample((Read(str(i), "ACGTACGTA") for i in range(1000)), "nucleotide", 9, 100)
    counts = np.bincount([int(piece.name) // 100 for piece in drawn], minlength=10)
    assert counts.sum() == 100
    assert counts.min() >= 1 and counts.max() <= 19


def test_proteins_are_drawn_as_a_run_would_read_them():
    drawn = sample([Read("a", "MKV*"), Read("b", ""), Read("c", "*"), Read("d", "MK" * 600)], "protein", 500, 9)
    assert [(piece.name, piece.length, len(piece.sequence)) for piece in drawn] == [("a", 3, 3), ("d", 1200, 1024)]


def test_cosines():
    one = np.array([[1, 0], [1, 1], [2, 0], [np.nan, 1], [0, 0]], np.float32)
    other = np.array([[2, 0], [1, 0], [0, 3], [1, 1], [1, 1]], np.float32)
    assert cosines(one, other) == pytest.approx([1, 2**-0.5, 0, np.nan, np.nan], nan_ok=True)


def agreement(ours, theirs, chunks_S, failures=None):
    count = len(ours)
    return Agreement(
        [f"s{i}" for i in range(count)],
        {"esm2": np.array([0.9995] * count), "dnabert_s": np.array([0.9999] * count)},
        failures or {},
        np.array([[1 - v, v] for v in ours], np.float32),
        np.array([[1 - v, v] for v in theirs], np.float32),
        np.array(chunks_S),
    )


@pytest.mark.parametrize(
    "ours, theirs, chunks_S, frames, of_chunks",
    [
        ([0.9, 0.1], [0.8, 0.2], [0, 1], 1.0, 1.0),
        ([0.6, 0.1], [0.4, 0.1], [0, 1], 0.5, 0.5),
        ([0.6, 0.1], [0.4, 0.1], [0, 0], 0.5, 1.0),  # max others 0.9 either way
        ([0.5, 0.1], [0.5001, 0.1], [0, 1], 0.5, 1.0),  # a tie: others by argmax, virus as a chunk
        ([np.nan, 0.1], [0.4, 0.1], [0, 1], 0.5, 0.5),  # what failed agrees with nothing
        ([np.nan, 0.1], [0.4, 0.1], [0, 0], 0.5, 0.0),
    ],
)
def test_labels(ours, theirs, chunks_S, frames, of_chunks):
    summary = agreement(ours, theirs, chunks_S).summary()
    assert (summary["frame_labels_agree"], summary["chunk_labels_agree"]) == (frames, of_chunks)


def test_thresholds():
    summary = agreement([0.9, 0.6], [0.9, 0.4], [0, 1], failures={1: "why"}).summary()
    assert shortfalls(summary | {"failed": 0}, 0.999, 0.5) == []
    assert shortfalls(summary, 0.9999, 0.99) == [
        "1 of 2 sequences could not be computed",
        "least cosine of ESM-2 0.999500, allowed 0.9999",
        "50.00 % of frames keep their label, required 99 %",
        "50.00 % of chunks keep their label, required 99 %",
    ]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Two of the real sequences."""
    path = tmp_path_factory.mktemp("real") / REAL.name
    records = REAL.read_text().split(">")[1:]
    path.write_text("".join(f">{records[place]}" for place in TWO_OF_THEM))
    return path


@pytest.fixture(scope="module")
def compared(program, real, tmp_path_factory):
    """40 chunks of them, in FP32 as a run packs them."""
    out = tmp_path_factory.mktemp("parity")
    run = ("parity", real, "--output-dir", out, "--esm-model", ESM_8M, "--sequences", 40)
    return out, program(*run)


def test_packed_float32_is_float32(compared):
    out, done = compared
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("PASS\n")
    assert re.search(r"same label +100.00 % of frames, 100.00 % of chunks", done.stdout)
    found = json.loads((out / "parity_real_mixed.json").read_text())
    assert found["thresholds"] == {"min_cosine": 0.999, "min_agreement": 0.99}
    assert found["drawn"] == 40 and found["sequences"] > 10 and found["shortfalls"] == []
    assert found["esm2_cosine"]["least"] > 1 - 1e-9
    assert 0 < found["score_difference"]["largest"] < 1e-5  # two computations, not one told twice
    table = [line.split("\t") for line in (out / "parity_real_mixed.tsv").read_text().splitlines()]
    assert table[0] == [
        "Sequence_ID", "cosine_esm2", "cosine_dnabert_s", "score1", "score2", "score1_fp32", "score2_fp32", "failure",
    ]  # fmt: skip
    assert len(table) == 1 + found["sequences"]
    assert all(len(row) == len(table[0]) for row in table)


def test_the_scores_are_those_of_a_run(compared, real, program, tmp_path):
    out, _ = compared
    assert program("predict", real, "--output-dir", tmp_path / "run", "--esm-model", ESM_8M).returncode == 0
    lines = (tmp_path / "run" / "real_mixed_merged" / "prediction_results.txt").read_text().splitlines()[1:]
    scores = {line.split("\t")[0]: float(line.split("\t")[3]) for line in lines}
    for row in (out / "parity_real_mixed.tsv").read_text().splitlines()[1:]:
        name, _, _, others, ours, others_reference, reference, _ = row.split("\t")
        assert float(others) + float(ours) == pytest.approx(1) == float(others_reference) + float(reference)
        assert scores[name] == pytest.approx(float(ours), abs=1e-5) == pytest.approx(float(reference), abs=1e-5)


def test_the_page(compared):
    page = (compared[0] / "parity_real_mixed.html").read_text()
    assert page.count("<svg ") == 3
    assert "PASS" in page and "synthetic" in page
    assert not re.search(r'(src|href)="[^#]', page) and "<script" not in page


def test_below_a_threshold_is_exit_1(program, tmp_path):
    """Half precision errs; nothing errs so little."""
    run = ("parity", REAL, "--output-dir", tmp_path, "--esm-model", ESM_8M, "--sequences", 10, "--precision", "bf16")
    done = program(*run, "--min-cosine", 0.9999999)
    assert done.returncode == 1
    assert re.search(r"FAIL: least cosine of ESM-2 0\.9999\d+, allowed 0.9999999", done.stdout)
    assert json.loads((tmp_path / "parity_real_mixed.json").read_text())["shortfalls"]


@pytest.mark.parametrize("name", ["p", "stdin"])  # which can be read only once
def test_proteins_have_no_scores(program, tmp_path, name):
    proteins, path = ">a\nMKVLAAGIVGLCAKAYEQ\n>b\nMLLKK*\n>c\n\n", tmp_path / "p.faa"
    path.write_text(proteins)
    given = "-" if name == "stdin" else path
    done = program("parity", given, "--output-dir", tmp_path / "out", "--esm-model", ESM_8M, input=proteins)
    assert done.returncode == 0, done.stderr
    assert "2 proteins, 0 failed" in done.stdout and "label" not in done.stdout
    assert (tmp_path / "out" / f"parity_{name}.tsv").read_text().splitlines()[0] == "Sequence_ID\tcosine_esm2\tfailure"


def test_what_cannot_be_compared(main, tmp_path):
    (tmp_path / "none.fa").write_text(">a\nTAATTAGTTAACTAATTAACTAGTTAA\n")
    run = ("--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    code, said = main("parity", tmp_path / "none.fa", *run)
    assert code == 1 and "none of 1 chunks has an open frame, so there is nothing to compare" in said
    (tmp_path / "empty.fa").write_text(">a\n>b\n")
    code, said = main("parity", tmp_path / "empty.fa", *run)
    assert code == 1 and "no record has a sequence, so there is nothing to compare" in said
    code, said = main("parity", tmp_path / "gone.fa", *run)
    assert code == 2 and "no such file" in said
    assert not (tmp_path / "out" / "parity_none.html").exists()
    (tmp_path / "file").write_text("")
    code, said = main("parity", REAL, "--output-dir", tmp_path / "file", "--esm-model", ESM_8M)
    assert code == 2 and "Cannot make the output directory" in said


def test_a_planted_failure_and_a_planted_flip(weights, monkeypatch, tmp_path):
    """Of the engine in question; the reference is computed right. Chunk 1 has two frames, of which one is turned."""
    from virnucpro.config.settings import Settings
    from virnucpro.diagnostics import parity

    (tmp_path / "x.fa").write_text(">a\nATGGCCAAAGTTCTGGAC\n>b\nATGGCCAAAGTTCTGGACATG\n")
    recipes = []
    plain = parity.compute

    def compute(recipe, *arguments):
        found = plain(recipe, *arguments)
        recipes.append(recipe)
        if not recipe.plain:
            (window,) = found.windows
            window.failures[0] = "planted"
            window.features["esm2"][0] = window.scores_S2[0] = np.nan
            window.scores_S2[-1] = window.scores_S2[-1][::-1]
        return found

    monkeypatch.setattr(parity, "compute", compute)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings = Settings((str(tmp_path / "x.fa"),), tmp_path, weights_dir=weights, esm_model=ESM_8M, show_progress=False)
    found, about = parity.measure(settings, 10)
    assert [(recipe.precision, recipe.plain, recipe.attention, recipe.token_budget) for recipe in recipes] == [
        ("fp32", False, "auto", 2048), ("fp32", True, "sdpa", 1),
    ]  # fmt: skip
    frames_a = sum(name.startswith("a_") for name in found.names)
    assert frames_a > 1 and len(found.names) > frames_a + 1
    assert found.chunks_S.tolist() == [0] * frames_a + [1] * (len(found.names) - frames_a)
    assert found.failures == {0: "planted"}
    summary = found.summary()
    assert (summary["failed"], summary["chunks"]) == (1, 2)
    assert summary["frame_labels_agree"] == pytest.approx(1 - 2 / len(found.names))
    assert summary["chunk_labels_agree"] < 1  # chunk a has a failed frame
    said = text(found, summary, about, ["x"])
    assert f"failed: {found.names[0]}: planted" in said and "nan" not in said
    assert f"other label: {found.names[-1]}, virus" in said


def test_a_small_gpu_leaves_the_reference_to_the_cpu(monkeypatch, caplog):
    from virnucpro.config.compute import ComputeConfig
    from virnucpro.diagnostics import parity

    recipe = ComputeConfig("nucleotide", None, "esm2_t36_3B_UR50D", 500, "fp32", "sdpa", 1, 64, True)
    device = torch.device("cuda", 0)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (8e9, 8.5e9))
    assert parity._device_for(recipe, device) == torch.device("cpu")
    assert "The reference takes 12 GB, and cuda:0 has 8 GB free" in caplog.text
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (20e9, 24e9))
    assert parity._device_for(recipe, device) == device
