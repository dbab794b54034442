"""The command line: help, versions, and one clear message with the right exit code for every bad request."""

import gzip
import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import DATA, ESM_8M, ROOT, command

from benchmarks.synthetic_weights import classifier, write_classifier
from virnucpro import __version__

SMALL = ("--esm-model", ESM_8M)


def test_version_and_help():
    for arguments, expected in (
        (("--version",), f"virnucpro, version {__version__}"),
        (("--help",), "Exit codes: 0 done, 1 bad data, 2 bad request"),
        (("predict", "--help"), "--batch-tokens N"),
        (("convert", "--help"), "--chunk-size BP"),
    ):
        done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0
        assert expected in done.stdout


def test_help_never_imports_torch():
    script = (
        "import sys; from virnucpro.cli import main; code = main(['predict', '--help'])\n"
        "assert code == 0 and 'torch' not in sys.modules and 'dnaio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "text, message",
    [
        ("hello\n", "bad.fa, line 1: expected '>' (FASTA) or '@' (FASTQ), found 'hello'"),
        ("@a\nACGT\nIIII\nx\n", "bad.fa, line 3: not valid FASTQ"),
        (">a\nAC\n>b\nAC\n>a\nAC\n", "records 1 and 3 have the same id 'a'"),
        (">\nACGT\n", "record 1 has no id"),
    ],
)
def test_bad_data_is_exit_1(main, tmp_path, text, message):
    (tmp_path / "bad.fa").write_text(text)
    code, said = main("predict", tmp_path / "bad.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 1
    assert_one_message(said, message)
    assert not (tmp_path / "out").exists()  # so that the mended file needs no --force


def test_a_cut_off_file_is_exit_1(main, tmp_path):
    (tmp_path / "bad.fa.gz").write_bytes(gzip.compress((DATA / "real_mixed.fa").read_bytes())[:-100])
    code, said = main("predict", tmp_path / "bad.fa.gz", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 1
    assert_one_message(said, "damaged or cut off")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--model-type", "400"), "'400' is not one of '300', '500', 'custom'"),
        (("--model-type", "custom"), "--model-type custom needs the classifier's file"),
        (("--esm-model", "esm2_t7_9M"), "is not one of 'esm2_t6_8M_UR50D'"),
        (("--input-type", "rna"), "is not one of"),
        (("--gpus", "zero"), "'zero' is not a list of GPU indices"),
        (("--gpus", "0,0"), "indices are 0 or more, each named once"),
        (("--gpus", ""), "is not a list of GPU indices"),
        (("--batch-tokens", "0"), "--batch-tokens must be 1 or more, not 0"),
        (("--num-workers", "-1"), "--num-workers must be 1 or more, not -1"),
        (("--workers-per-gpu", "2"), "has a meaning with --parallel only"),
        (("--workers-per-gpu", "0"), "--workers-per-gpu must be 1 or more, not 0"),
        (("--resume", "--force"), "Give one of them"),
        (("--bogus",), "No such option"),
        (("--weights-dir", "nowhere"), "Missing weights in nowhere"),
        (("--model-path", "nowhere.pth"), "nowhere.pth, the classifier of --model-path"),
        (("--esm-model", "esm2_t36_3B_UR50D"), "esm2_t36_3B_UR50D.pt, or a Hugging Face folder"),
    ],
)
def test_bad_requests_are_exit_2(main, tmp_path, options, message):
    given = options if "--esm-model" in options else (*SMALL, *options)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *given)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_missing_arguments_and_files_are_exit_2(main, tmp_path):
    for arguments in (("predict",), ("predict", DATA / "small.fa"), ("bogus",)):
        assert main(*arguments)[0] == 2
    code, said = main("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 2
    assert_one_message(said, "none.fa: no such file")


def test_missing_weights_are_listed_at_once_with_where_to_get_them(main, tmp_path, monkeypatch):
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--weights-dir", tmp_path)
    assert code == 2
    for text in (
        f"{tmp_path}/esm2_t36_3B_UR50D.pt",
        f"{tmp_path}/DNABERT-S/",
        f"{tmp_path}/500_model.pth or .safetensors",
        "https://dl.fbaipublicfiles.com/fair-esm/models/esm2_t36_3B_UR50D.pt",
        "https://huggingface.co/zhihan1996/DNABERT-S",
    ):
        assert text in said
    monkeypatch.delenv("VIRNUCPRO_WEIGHTS")
    monkeypatch.chdir(tmp_path)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out")
    assert code == 2
    assert "neither --weights-dir nor VIRNUCPRO_WEIGHTS is set" in said


def test_an_existing_output_directory_needs_a_word(main, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 2
    assert_one_message(said, "exists. Add --resume to go on with its run, --force to start that run over")
    (tmp_path / "none.fa").write_text("")
    (tmp_path / "out" / ".none_protein.faa.7.tmp").write_text("of a killed run")
    for _ in range(2):
        code, _ = main("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", *SMALL, "--force")
        assert code == 0
        assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "out" / ".none_protein.faa.7.tmp").exists()
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "none.fa", *SMALL, "--force")
    assert code == 2
    assert_one_message(said, "is a file, not a directory")


@pytest.mark.parametrize("word", ["--force", "--resume"])
def test_files_that_no_run_made_are_never_touched(main, tmp_path, word):
    """Such as Prodigal's proteins beside the contigs."""
    shutil.copy(DATA / "small.fa", tmp_path)
    (tmp_path / "small_protein.faa").write_text("mine")
    (tmp_path / "small_merged").mkdir()
    for text in (None, "@bad\n"):
        if text:
            (tmp_path / "small.fa").write_text(text)
        code, _ = main("predict", tmp_path / "small.fa", "--output-dir", tmp_path, *SMALL, word)
        assert code == (1 if text else 2)
        assert (tmp_path / "small_protein.faa").read_text() == "mine"
        assert (tmp_path / "small_merged").is_dir()
    (tmp_path / "small_run.json").write_text("[]")
    shutil.copy(DATA / "small.fa", tmp_path)
    code, said = main("predict", tmp_path / "small.fa", "--output-dir", tmp_path, *SMALL, word)
    assert code == 2
    assert_one_message(said, "small_run.json is no manifest of a run")


def test_force_keeps_the_old_results_until_the_new_input_is_read(main, tmp_path):
    fasta, out = tmp_path / "x.fa", tmp_path / "out"
    fasta.write_text(">a\nTAATTAGTTAACTAATTAACTAGTTAA\n")
    assert main("predict", fasta, "--output-dir", out, *SMALL)[0] == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    fasta.write_text(">b\nTAA\n>b\nTAA\n")
    code, said = main("predict", fasta, "--output-dir", out, *SMALL, "--force")
    assert code == 1
    assert_one_message(said, "have the same id 'b'")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    fasta.write_text(">b\nTAATTAGTTAACTAATTAACTAGTTAA\n")
    assert main("predict", fasta, "--output-dir", out, *SMALL, "--force")[0] == 0
    assert "\nb\t27\t1\t0\tno open frame\n" in (out / "x_merged" / "sequences.tsv").read_text()


@pytest.fixture
def own_weights(weights, tmp_path):
    """A copy of the weights that a test may break."""
    return shutil.copytree(weights, tmp_path / "weights")


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def swap_json(path):
    path.write_text("[1, 2")


def set_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil_classifier(path):
    model = classifier(344)
    model.hidden_layer.bias.data[0] = float("nan")
    torch.save(model.state_dict(), path)


BROKEN = {
    "a web page": (lambda w: (w / f"{ESM_8M}.pt").write_text("<html>"), "a web page? a git-lfs pointer?"),
    "text as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", hidden_size="24"), "width is '24', not a"),
    "null as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_hidden_layers=None), "layers is None"),
    "odd heads": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_attention_heads=5), "5 heads do not divide"),
    "classifier with nan": (lambda w: spoil_classifier(w / "500_model.pth"), "weights that are not finite"),
    "esm cut off": (lambda w: cut(w / f"{ESM_8M}.pt"), "damaged or not a PyTorch weights file"),
    "esm empty": (lambda w: (w / f"{ESM_8M}.pt").write_bytes(b""), "Fetch it again"),
    "esm of another kind": (lambda w: torch.save({"x": 1}, w / f"{ESM_8M}.pt"), "no ESM-2 checkpoint of fair-esm"),
    "dnabert cut off": (lambda w: cut(w / "DNABERT-S" / "pytorch_model.bin"), "damaged or not a PyTorch"),
    "dnabert config": (lambda w: swap_json(w / "DNABERT-S" / "config.json"), "cannot be read as JSON"),
    "dnabert tokenizer": (lambda w: swap_json(w / "DNABERT-S" / "tokenizer.json"), "cannot be read as a tokenizer"),
    "no dnabert tokenizer": (
        lambda w: (w / "DNABERT-S" / "tokenizer.json").unlink(),
        "config.json, tokenizer.json and",
    ),
    "no dnabert weights": (lambda w: (w / "DNABERT-S" / "pytorch_model.bin").unlink(), "DNABERT-S/ with config.json"),
    "classifier cut off": (lambda w: cut(w / "500_model.pth"), "damaged or not a PyTorch weights file"),
    "classifier of another width": (
        lambda w: shutil.copy(w / "wide.pth", w / "500_model.pth"),
        "takes 3328 features, but esm2_t6_8M_UR50D (320) and DNABERT-S (24) give 344",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_weights_are_exit_2(main, own_weights, tmp_path, name):
    write_classifier(own_weights / "wide.pth", 3328)
    damage, message = BROKEN[name]
    damage(own_weights)
    options = ("--weights-dir", own_weights, *SMALL)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *options)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_the_chunk_size_goes_with_the_classifier(main, weights, tmp_path):
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *SMALL)
    code, said = main(*run, "--model-type", 300, "--model-path", weights / "500_model.pth")
    assert code == 2
    assert "trained on chunks of 500 bp, but --model-type 300 asks for 300 bp" in said
    unnamed = shutil.copy(weights / "500_model.pth", tmp_path / "mine.pth")
    code, said = main(*run, "--model-type", "custom", "--model-path", unnamed)
    assert code == 2
    assert f"virnucpro convert {unnamed} mine.safetensors --chunk-size BP" in said


def test_convert(main, weights, tmp_path):
    target = tmp_path / "mine.safetensors"
    code, said = main("convert", weights / "500_model.pth", target)
    assert code == 0
    assert "chunk size 500 bp" in said
    for source, goal, options, message in (
        (weights / "500_model.pth", target, (), "exists"),
        (weights / "500_model.pth", tmp_path / "x.pth", (), "must end in .safetensors"),
        (weights / "500_model.pth", tmp_path / "x.safetensors", ("--chunk-size", 300), "trained on chunks of 500 bp"),
        (weights / f"{ESM_8M}.pt", tmp_path / "x.safetensors", (), "refused, for it holds more than weights"),
        (tmp_path / "none.pth", tmp_path / "x.safetensors", (), "does not exist"),
    ):
        code, said = main("convert", source, goal, *options)
        assert code == 2
        assert message in said


def test_quiet_and_verbose_work_on_either_side(main, tmp_path):
    (tmp_path / "none.fa").write_text("")
    for i, (before, after, info) in enumerate(
        ((("-q",), (), False), ((), ("-q",), False), ((), (), True), ((), ("-v",), True))
    ):
        code, said = main(*before, "predict", tmp_path / "none.fa", "--output-dir", tmp_path / str(i), *SMALL, *after)
        assert code == 0
        assert ("INFO" in said) == info
        assert "holds no records" in said


def test_verbose_shows_the_traceback_of_an_error(main, tmp_path):
    (tmp_path / "bad.fa").write_text("hello\n")
    code, said = main("-v", "predict", tmp_path / "bad.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 1
    assert "Traceback" in said


def assert_one_message(said, message):
    """One line of error, with the message, and no traceback (other lines are warnings of the log)."""
    (line,) = [line for line in said.splitlines() if line.startswith("virnucpro: error: ")]
    assert message in line
    assert "Traceback" not in said
