"""`virnucpro predict` as a user starts it: files, numbers, and what it says."""

import csv
import gzip
import json

import pytest
import references
import torch
from conftest import DATA, ESM_8M
from references import assert_equal_within_float32

from benchmarks import synthetic_weights
from virnucpro.classifier import load_classifier, scores
from virnucpro.dnabert import load_tokenizer, tokenize

SMALL = ("--esm-model", ESM_8M, "--no-progress")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module", params=[300, 500])
def small(request, program, tmp_path_factory):
    """A run on tests/data/small.fa with all files kept, in parallel on the CPU."""
    out = tmp_path_factory.mktemp("small") / "out"
    options = ("--model-type", request.param, "--keep-intermediate", "--parallel")
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


def test_scores_are_those_of_plain_references(small, weights):
    chunk_size, out, _ = small
    names, *proteins = _fasta(DATA / f"small_protein_{chunk_size}.faa")
    _, *dna = _fasta(DATA / f"small_nucleotide_{chunk_size}.fa")
    tokenizer = load_tokenizer(weights / "DNABERT-S")
    state = torch.load(weights / "DNABERT-S" / "pytorch_model.bin", weights_only=True)
    dnabert = [references.dnabert_features(state, ids, 2, 12) for ids in tokenize(tokenizer, dna[0])]
    esm2 = references.fair_esm_features(weights / f"{ESM_8M}.pt", proteins[0])
    model = load_classifier(weights / f"{chunk_size}_model.pth").model
    expected = scores(model, torch.cat([torch.stack(dnabert), esm2], dim=1))

    table = rows(out / "small_merged" / "prediction_results.txt")
    assert table[0] == ["Sequence_ID", "Prediction", "score1", "score2"]
    assert [row[0] for row in table[1:]] == names
    found = torch.tensor([[float(row[2]), float(row[3])] for row in table[1:]])
    assert torch.allclose(found, expected, atol=1e-5)
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


def test_features_are_kept_on_request(small):
    _, out, _ = small
    names, ids = [], []
    for file in sorted((out / "small_features").glob("*.pt")):
        content = torch.load(file, weights_only=True)
        assert content["esm2"].dtype == content["dnabert_s"].dtype == torch.float32
        assert content["esm2"].shape == (len(content["ids"]), 320)
        assert content["dnabert_s"].shape == (len(content["ids"]), 24)
        marker = json.loads(file.with_suffix(".done").read_text())
        assert marker["sequences"] == len(content["ids"])
        ids += content["ids"]
    names, _ = _fasta(out / "small_protein.faa")
    assert ids == names


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


def test_the_first_real_run(program, tmp_path):
    """15 real sequences, 204 kb; without --parallel, and nothing but results is left."""
    done = program("predict", DATA / "real_mixed.fa", "--output-dir", tmp_path / "out", "--gpus", "0", *SMALL)
    assert done.returncode == 0, done.stderr
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")) == [
        "real_mixed_merged",
        "real_mixed_merged/contigs.tsv",
        "real_mixed_merged/prediction_results.txt",
        "real_mixed_merged/prediction_results_highestscore.csv",
        "real_mixed_merged/sequences.tsv",
        "real_mixed_run.json",
    ]
    merged = tmp_path / "out" / "real_mixed_merged"
    fates = rows(merged / "sequences.tsv")[1:]
    with open(DATA / "real_mixed.fa") as file:
        assert [row[0] for row in fates] == [line[1:].split()[0] for line in file if line.startswith(">")]
    assert {row[4] for row in fates} == {"scored"}
    assert len(rows(merged / "contigs.tsv")) == 1 + 15
    frames = rows(merged / "prediction_results.txt")[1:]
    assert sum(int(row[3]) for row in fates) == len(frames) == 275
    # 11-kb genomes of single-stranded RNA viruses are one long reading frame: nearly every chunk is open
    dengue = next(row for row in fates if row[0] == "NC_001477.1")
    assert dengue[1:3] == ["10735", "22"]
    assert int(dengue[3]) >= 20


def test_proteins_are_embedded_only(program, weights, tmp_path):
    proteins = {"p1": "MKVLAAGIVGLCAKAYEQ", "p2": "mkvlaa*", "p3": "", "p4": "MJ*K", "p5": "MK" * 600}
    fasta = tmp_path / "some.faa"
    fasta.write_text("".join(f">{name} words\n{residues}\n" for name, residues in proteins.items()))
    done = program("predict", fasta, "--output-dir", tmp_path / "out", *SMALL, "--parallel")
    assert done.returncode == 0, done.stderr
    assert "The input is protein: features are written, no verdicts." in done.stderr
    assert "1 proteins are longer than 1,024 residues" in done.stderr
    assert "2 residues are not in ESM-2's alphabet and are read as X" in done.stderr
    assert rows(tmp_path / "out" / "some_merged" / "sequences.tsv")[1:] == [
        ["p1", "18", "0", "1", "embedded"],
        ["p2", "6", "0", "1", "embedded"],
        ["p3", "0", "0", "0", "empty"],
        ["p4", "4", "0", "1", "embedded"],
        ["p5", "1200", "0", "1", "embedded: first 1024 residues"],
    ]
    parts = [torch.load(file, weights_only=True) for file in sorted((tmp_path / "out" / "some_features").glob("*.pt"))]
    assert [name for part in parts for name in part["ids"]] == ["p1", "p2", "p4", "p5"]
    assert all(set(part) == {"ids", "esm2"} for part in parts)
    expected = references.fair_esm_features(
        weights / f"{ESM_8M}.pt", ["MKVLAAGIVGLCAKAYEQ", "MKVLAA", "MXXK", ("MK" * 600)[:1024]]
    )
    assert_equal_within_float32(torch.cat([part["esm2"] for part in parts]), expected)
    assert not (tmp_path / "out" / "some_merged" / "prediction_results.txt").exists()


def test_standard_input_compressed_with_a_hugging_face_folder(program, weights, tmp_path):
    """FASTQ through a pipe; ESM-2 from a folder instead of a file gives the same scores."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("DNABERT-S", "500_model.pth"):
        (folder / name).symlink_to(weights / name)
    synthetic_weights.write_hugging_face_esm(folder / ESM_8M, 6, 320, 20)
    read = "ATGGCCAAAGTTCTGGAC" * 5
    fastq = gzip.compress(f"@r1 x\n{read}\n+\n{'I' * len(read)}\n".encode())
    (tmp_path / "r.fa").write_text(f">r1\n{read}\n")
    tables = []
    for source, place in (("-", folder), (tmp_path / "r.fa", weights)):
        out = tmp_path / f"out{len(tables)}"
        with open(tmp_path / "pipe", "wb+") as pipe:
            pipe.write(fastq)
            pipe.seek(0)
            done = program("predict", source, "--output-dir", out, "--weights-dir", place, *SMALL, stdin=pipe)
        assert done.returncode == 0, done.stderr
        stem = "stdin" if source == "-" else "r"
        tables.append(rows(out / f"{stem}_merged" / "prediction_results.txt"))
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


def _fasta(path):
    lines = path.read_text().splitlines()
    return [line[1:] for line in lines[::2]], lines[1::2]
