"""`virnucpro predict` as a user starts it: files, numbers, and what it says."""

import csv
import gzip
import hashlib
import json

import h5py
import pytest
import torch
from conftest import DATA, ESM_8M
from references import assert_equal_within_float32

from benchmarks import synthetic_weights, workloads
from benchmarks.support.reference import dnabert_features, fair_esm_features
from virnucpro import __version__
from virnucpro.engine import loader
from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.tokens import dnabert_tokens, load_tokenizer
from virnucpro.reading.frames import reverse_complement

SMALL = ("--esm-model", ESM_8M, "--no-progress")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module", params=[300, 500])
def small(request, program, tmp_path_factory):
    """A run on tests/data/small.fa with all files kept, in parallel on the CPU."""
    out = tmp_path_factory.mktemp("small") / "out"
    options = ("--model-type", request.param, "--keep-intermediate", "--save-embeddings", "--parallel")
    done = program("predict", DATA / "small.fa", "--output-dir", out, *SMALL, *options)
    assert done.returncode == 0, done.stderr
    return request.param, out, done


def test_intermediate_files_byte_by_byte(small):
    # The expected files were made by an independent script with Biopython.
    chunk_size, out, _ = small
    for made, expected in (
        (f"small_chunked{chunk_size}.fa", f"small_chunked{chunk_size}.fa"),
        ("small_nucleotide.fa", f"small_nucleotide_{chunk_size}.fa"),
        ("small_protein.faa", f"small_protein_{chunk_size}.faa"),
        ("small_merged/sequences.tsv", f"small_sequences_{chunk_size}.tsv"),
    ):
        assert (out / made).read_bytes() == (DATA / expected).read_bytes(), made


@pytest.fixture(scope="module")
def expected(small, weights):
    """Names of the frames, and their features by plain references: (names, DNABERT-S, ESM-2)."""
    chunk_size, _, _ = small
    names, proteins = _fasta(DATA / f"small_protein_{chunk_size}.faa")
    _, dna = _fasta(DATA / f"small_nucleotide_{chunk_size}.fa")
    tokenizer = load_tokenizer(weights / "DNABERT-S")
    state = torch.load(weights / "DNABERT-S" / "pytorch_model.bin", weights_only=True)
    dnabert = [dnabert_features(state, ids, 2, 12) for ids in dnabert_tokens(tokenizer, dna)]
    return names, torch.stack(dnabert), fair_esm_features(weights / f"{ESM_8M}.pt", proteins)


def test_scores_are_those_of_plain_references(small, expected, weights):
    chunk_size, out, _ = small
    names, dnabert, esm2 = expected
    wanted = scores(load_classifier(weights / f"{chunk_size}_model.pth").model, torch.cat([dnabert, esm2], dim=1))
    table = rows(out / "small_merged" / "prediction_results.txt")
    assert table[0] == ["Sequence_ID", "Prediction", "score1", "score2"]
    assert [row[0] for row in table[1:]] == names
    found = torch.tensor([[float(row[2]), float(row[3])] for row in table[1:]])
    assert torch.allclose(found, wanted, atol=1e-5)
    assert [row[1] for row in table[1:]] == [("others", "virus")[i] for i in found.argmax(dim=1)]


def test_chunks_get_the_maxima_of_their_frames(small):
    _, out, _ = small
    frames = rows(out / "small_merged" / "prediction_results.txt")[1:]
    expected = {}
    for name, _, others, virus in frames:
        best = expected.setdefault(name[:-2], [0.0, 0.0])
        best[:] = max(best[0], float(others)), max(best[1], float(virus))
    table = rows(out / "small_merged" / "prediction_results_highestscore.csv")
    assert table[0] == ["Modified_ID", "Is_Virus", "max_score_0", "max_score_1"]
    assert [(row[0], [float(row[2]), float(row[3])]) for row in table[1:]] == list(expected.items())
    assert all(row[1] == str(float(row[3]) >= float(row[2])) for row in table[1:])


def test_features_are_saved_on_request(small, expected, weights):
    chunk_size, out, _ = small
    names, dnabert, esm2 = expected
    with h5py.File(out / "small_merged" / "embeddings.h5") as file:
        assert file["ids"].asstr()[:].tolist() == names
        assert_equal_within_float32(torch.from_numpy(file["dnabert_s"][:]), dnabert)
        assert_equal_within_float32(torch.from_numpy(file["embeddings"][:]), esm2)
        attributes = dict(file.attrs)
    assert (attributes["virnucpro"], attributes["model"]) == (__version__, ESM_8M)
    assert (attributes["precision"], attributes["attention"], attributes["device"]) == ("fp32", "sdpa", "CPU")
    checksums = json.loads(attributes["weights_sha256"])
    assert checksums[f"{ESM_8M}.pt"] == hashlib.sha256((weights / f"{ESM_8M}.pt").read_bytes()).hexdigest()
    assert f"{chunk_size}_model.pth" in checksums


def test_what_it_says(small):
    _, out, done = small
    assert done.stdout == ""
    assert "Traceback" not in done.stderr  # a downstream reader takes the word for failure
    for text in (
        "Running on the CPU: ",
        "the verdicts mean nothing",
        "1 of 6 records are empty",
        f"Results: {out}/small_merged",
    ):
        assert text in done.stderr
    assert json.loads((out / "small_run.json").read_text())["synthetic_weights"] is True


def test_proteins_are_embedded_only(main, quick_workers, weights, tmp_path):
    proteins = {"p1": "MKVLAAGIVGLCAKAYEQ", "p2": "mkvlaa*", "p3": "", "p4": "MJ*K", "p5": "MK" * 600}
    fasta = tmp_path / "some.faa"
    fasta.write_text("".join(f">{name} words\n{residues}\n" for name, residues in proteins.items()))
    code, said = main("predict", fasta, "--output-dir", tmp_path / "out", *SMALL, "--parallel")
    assert code == 0, said
    assert "The input is protein: features are written, no verdicts." in said
    assert "1 proteins are longer than 1,024 residues" in said
    assert "2 residues are not in ESM-2's alphabet and are read as X" in said
    assert rows(tmp_path / "out" / "some_merged" / "sequences.tsv")[1:] == [
        ["p1", "18", "0", "1", "embedded"],
        ["p2", "6", "0", "1", "embedded"],
        ["p3", "0", "0", "0", "empty"],
        ["p4", "4", "0", "1", "embedded"],
        ["p5", "1200", "0", "1", "embedded: first 1024 residues"],
    ]
    with h5py.File(tmp_path / "out" / "some_merged" / "embeddings.h5") as file:
        assert set(file) == {"ids", "embeddings"}
        assert file["ids"].asstr()[:].tolist() == ["p1", "p2", "p4", "p5"]
        found = torch.from_numpy(file["embeddings"][:])
    expected = fair_esm_features(
        weights / f"{ESM_8M}.pt", ["MKVLAAGIVGLCAKAYEQ", "MKVLAA", "MXXK", ("MK" * 600)[:1024]]
    )
    assert_equal_within_float32(found, expected)
    assert not (tmp_path / "out" / "some_merged" / "prediction_results.txt").exists()


def test_standard_input_compressed_with_a_hugging_face_folder(main, program, weights, tmp_path):
    """FASTQ through a pipe; ESM-2 from a folder instead of a file gives the same scores."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("DNABERT-S", "500_model.pth"):
        (folder / name).symlink_to(weights / name)
    synthetic_weights.write_hugging_face_esm(folder / ESM_8M, 6, 320, 20)
    read = "ATGGCCAAAGTTCTGGAC" * 5
    fastq = gzip.compress(f"@r1 x\n{read}\n+\n{'I' * len(read)}\n".encode())
    (tmp_path / "r.fa").write_text(f">r1\n{read}\n")
    with open(tmp_path / "pipe", "wb+") as pipe:
        pipe.write(fastq)
        pipe.seek(0)
        done = program("predict", "-", "--output-dir", tmp_path, "--weights-dir", folder, *SMALL, stdin=pipe)
    assert done.returncode == 0, done.stderr
    assert main("predict", tmp_path / "r.fa", "--output-dir", tmp_path, *SMALL)[0] == 0
    tables = [rows(tmp_path / f"{stem}_merged" / "prediction_results.txt") for stem in ("stdin", "r")]
    assert len(tables[0]) > 1
    assert [row[:2] for row in tables[0]] == [row[:2] for row in tables[1]]
    for one, other in zip(tables[0][1:], tables[1][1:]):
        assert float(one[2]) == pytest.approx(float(other[2]), abs=1e-5)


@pytest.mark.parametrize(
    "text, warning", [("", "The input holds no records"), (">a\n>b\nTAATTAGTTAACTAATTAACTAGTTAA\n", "1 of 2 records")]
)
def test_input_without_frames_gives_headers_only(main, tmp_path, text, warning):
    (tmp_path / "none.fa").write_text(text)
    code, said = main("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 0
    assert warning in said
    merged = tmp_path / "out" / "none_merged"
    assert (merged / "prediction_results.txt").read_text() == "Sequence_ID\tPrediction\tscore1\tscore2\n"
    assert (merged / "prediction_results_highestscore.csv").read_text() == (
        "Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1\n"
    )
    assert len(rows(merged / "contigs.tsv")) == 1
    assert len(rows(merged / "sequences.tsv")) == 1 + text.count(">")


def lines_of(out):
    """Every frame's line, whatever the order."""
    return set((out / "x_merged" / "prediction_results.txt").read_text().splitlines())


def test_deterministic_lines_do_not_depend_on_order_or_window(main, tmp_path):
    reads = [f">{name}\n{sequence[:120]}\n" for name, sequence in workloads.reads(4)]
    for name, order in (("one", reads), ("other", reads[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.fa").write_text("".join(order))
    lines = []
    for name, options in (("one", ()), ("other", ("--set", "buffer_size=2", "--num-workers", "2"))):
        out = tmp_path / name / "out"
        given = (*SMALL, "--deterministic", *options)
        assert main("predict", tmp_path / name / "x.fa", "--output-dir", out, *given)[0] == 0
        settings = json.loads((out / "x_run.json").read_text())["settings"]
        assert (settings["deterministic"], settings["batch_tokens"]) == (True, 1)  # so every sequence is alone
        lines.append(lines_of(out))
    assert len(lines[0]) > len(reads)
    assert lines[0] == lines[1]


def test_files_are_those_of_records_computed_one_by_one(main, tmp_path, monkeypatch):
    """Reads that stand several times, in either case and as reverse complements, and one with N."""
    reads = [sequence[:90] for _, sequence in workloads.reads(4)]
    reads += [reads[1][:40] + "N" + reads[1][41:], reads[0].lower(), reverse_complement(reads[2]), reads[3], reads[0]]
    (tmp_path / "x.fa").write_text("".join(f">r{number}\n{read}\n" for number, read in enumerate(reads)))
    files, features, counts = {}, {}, {}
    for name, size in (("once", 128), ("each", 128), ("alone", 1)):  # 128: the first window has room for 16
        if name == "each":
            monkeypatch.setattr(loader, "distinct", lambda texts: (texts, None))
        options = ("--deterministic", "--save-embeddings", "--set", f"buffer_size={size}")
        code, said = main("predict", tmp_path / "x.fa", "--output-dir", tmp_path / name, *SMALL, *options)
        assert code == 0
        files[name] = {path.name: path.read_bytes() for path in (tmp_path / name / "x_merged").iterdir()}
        with h5py.File(tmp_path / name / "x_merged" / "embeddings.h5") as file:
            features[name] = {column: file[column][:].tobytes() for column in ("embeddings", "dnabert_s")}
        manifest = json.loads((tmp_path / name / "x_run.json").read_text())
        counts[name] = [manifest[entry][key] for key in ("sequences", "copies") for entry in ("counts", "performance")]
        message = "INFO 12 of 29 sequences have the residues of another one in their window"
        assert (message in said) == (name == "once")
    assert counts == {"once": [29, 29, 12, 12], "each": [29, 29, 0, 0], "alone": [29, 29, 0, 0]}
    assert files["once"] == files["each"]
    del files["once"]["embeddings.h5"], files["alone"]["embeddings.h5"]  # laid out by windows
    assert files["once"] == files["alone"]
    assert features["once"] == features["alone"]


def test_precision_is_as_asked(main, brief_calibration, tmp_path):
    (tmp_path / "x.faa").write_text(">p\nMKVLAAGIVGLCAKAYEQ\n")
    found = {}
    for precision in ("auto", "fp32", "bf16", "fp16", "int8"):
        out = tmp_path / precision
        code, _ = main("predict", tmp_path / "x.faa", "--output-dir", out, *SMALL, "--precision", precision)
        assert code == 0
        with h5py.File(out / "x_merged" / "embeddings.h5") as file:
            found[file.attrs["precision"], precision] = file["embeddings"][:].tobytes()
    names = ("bf16", "fp16", "int8")
    assert list(found) == [("fp32", "auto"), ("fp32", "fp32"), *((name, name) for name in names)]
    assert found["fp32", "auto"] == found["fp32", "fp32"]
    assert len(set(found.values())) == 4


def _fasta(path):
    lines = path.read_text().splitlines()
    return [line[1:] for line in lines[::2]], lines[1::2]
