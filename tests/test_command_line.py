"""The command line: help, versions, and one clear message with the right exit code for every bad request."""

import gzip
import re
import resource
import shutil
import subprocess
import sys

import pytest
from conftest import DATA, ESM_8M, ROOT, assert_one_message, command, environment
from surroundings import HANG

from virnucpro import __version__

SMALL = ("--esm-model", ESM_8M)


def test_version_and_help():
    for arguments, expected in (
        (("--version",), f"virnucpro, version {__version__}"),
        (("--help",), "Exit codes: 0 done, 1 bad data or a failed check, 2 bad request"),
        (("convert", "--help"), "--chunk-size BP"),
        (("doctor", "--help"), "what is wrong, and what to do about it"),
    ):
        done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0
        assert expected in done.stdout


def test_help_lists_every_option():
    done = subprocess.run(command("predict", "--help"), capture_output=True, text=True, cwd=ROOT)
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.lstrip().startswith("--")]
    assert " ".join(listed) == (
        "--output-dir --weights-dir --model --model-type --model-path --esm-model --input-type --gpus --parallel "
        "--workers-per-gpu --batch-tokens --num-workers --precision --attention --audit --deterministic "
        "--save-embeddings --write-viral --prevalence --max-fdr "
        "--keep-intermediate --set --resume --force --rename-duplicates --no-progress"
    )


def test_help_imports_nothing_heavy():
    for command_name in ((), ("predict",), ("weights", "fetch"), ("doctor",), ("parity",), ("report",)):
        script = (
            f"import sys; from virnucpro.cli import main; code = main([*{command_name}, '--help'])\n"
            "assert code == 0 and not {'torch', 'numpy', 'h5py', 'httpx2', 'rich', 'matplotlib'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_a_parent_that_only_coordinates_never_imports_torch(weights, tmp_path):
    (tmp_path / "x.fa").write_text(">a\nATGGCCAAAGTTCTGGAC\n")
    options = (*SMALL, "--parallel", "--save-embeddings", "--keep-intermediate")
    run = ["predict", str(tmp_path / "x.fa"), "--output-dir", str(tmp_path / "out"), *options]
    script = (
        f"import sys; from virnucpro.cli import main; code = main({run})\n"
        "assert code == 0 and 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(weights), capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr
    assert "a_chunk_1F1" in (tmp_path / "out" / "x_merged" / "prediction_results.txt").read_text()


@pytest.mark.parametrize(
    "text, message",
    [
        ("hello\n", "bad.fa, line 1: expected '>' (FASTA) or '@' (FASTQ), found 'hello'"),
        ("@a\nACGT\nIIII\nx\n", "bad.fa, line 3: record 1 (a) has 'IIII' where '+' was expected"),
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


def test_a_file_that_ends_early_is_no_interruption(main, tmp_path, monkeypatch):
    """click takes EOFError for the end of a dialogue; Python raises it for bytecode that is cut off."""

    def cut(*arguments, **options):
        raise EOFError("marshal data too short")

    monkeypatch.setattr("virnucpro.pipeline.run.run", cut)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *SMALL)
    assert code == 1
    assert_one_message(said, "marshal data too short. A file of Python's or of a package is cut off: install it again.")


def test_a_full_disk_ends_in_one_line_and_nothing_is_lost(program, tmp_path):
    """HDF5 would end in a segmentation fault. Here the system allows no file over 256 KiB; SIGXFSZ Python ignores."""
    proteins = tmp_path / "p.faa"
    proteins.write_text("".join(f">p{i}\nMKVLAW\n" for i in range(150)))
    run = ("predict", proteins, "--output-dir", tmp_path / "out", *SMALL, "--set", "checkpoint_seq_threshold=1")
    limit = 2**18
    done = program(*run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 1
    assert_one_message(done.stderr, "File too large. Check the disk and the permissions.")
    assert not list((tmp_path / "out").rglob("*.h5*"))
    done = program(*run, "--resume")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Resuming: \d+ windows are done.", done.stderr)
    assert (tmp_path / "out" / "p_merged" / "embeddings.h5").is_file()


@pytest.mark.parametrize("place", ["out/.small.lock", "out"])
def test_an_output_directory_that_cannot_be_written_to(main, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    folder = ("--set", f"checkpoint_dir={tmp_path / 'file'}") if place == "out" else ()
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *SMALL, "--resume", *folder)
    assert code == 2
    what = "make the checkpoint directory" if folder else "write to the output directory"
    assert_one_message(said, f"Cannot {what} {tmp_path}")


@pytest.mark.parametrize(
    "options, message",
    [
        (("--model-type", "400"), "'400' is not one of '300', '500', 'custom'"),
        (("--model-type", "custom"), "--model-type custom needs the classifier's file"),
        (("--esm-model", "esm2_t7_9M"), "is not one of 'virnucpro_t6_8M', 'esm2_t6_8M_UR50D'"),
        (("--input-type", "rna"), "is not one of"),
        (("--gpus", "zero"), "'zero' is not a list of GPU indices"),
        (("--gpus", "0,0"), "give indices of 0 or more, each once"),
        (("--gpus", ""), "is not a list of GPU indices"),
        (("--batch-tokens", "0"), "--batch-tokens must be 1 or more, not 0"),
        (("--num-workers", "-1"), "--num-workers must be 0 or more, not -1"),
        (("--workers-per-gpu", "2"), "has a meaning with --parallel only"),
        (("--workers-per-gpu", "0"), "--workers-per-gpu must be 1 or more, not 0"),
        (("--resume", "--force"), "Give one of them"),
        (("--precision", "fp8"), "'fp8' is not one of 'auto', 'fp32', 'bf16', 'fp16', 'int8'"),
        (("--audit", "fallback"), "--audit has a meaning with 8 bits only. Add --precision int8, or leave it out."),
        (("--audit", "report", "--precision", "fp16"), "--audit has a meaning with 8 bits only"),
        (("--audit", "no", "--precision", "int8"), "'no' is not one of 'report', 'fallback'"),
        (("--attention", "flash"), "'flash' is not one of 'auto', 'triton', 'varlen', 'sdpa'"),
        (("--attention", "varlen"), "--attention varlen cannot run here: needs a CUDA GPU"),
        (("--attention", "triton", "--parallel"), "--attention triton cannot run here: needs a CUDA GPU"),
        (("--deterministic", "--batch-tokens", "9"), "Leave --batch-tokens out"),
        (("--set", "buffer_size"), "--set buffer_size has no '='"),
        (("--set", "buffer=9"), "--set buffer=9 names an unknown key: choose one of enable_checkpointing,"),
        (("--set", "buffer_size=0"), "buffer_size is 0 (int), but must be a whole number of 1 or more"),
        (("--set", "buffer_size=x"), "has the value 'x', but buffer_size must be a whole number"),
        (("--set", "buffer_size=8", "--set", "buffer_size=9"), "gives buffer_size a second time"),
        (("--bogus",), "No such option"),
        (("--weights-dir", "nowhere"), "Missing weights in nowhere"),
        (
            ("--model-path", "nowhere.pth"),
            "nowhere.pth: no such file. Give the classifier's path with --model or --model-path",
        ),
        (("--esm-model", "esm2_t36_3B_UR50D"), "esm2_t36_3B_UR50D.pt, or a Hugging Face folder"),
    ],
)
def test_bad_requests_are_exit_2(main, tmp_path, options, message):
    given = options if "--esm-model" in options else (*SMALL, *options)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *given)
    assert code == 2
    assert message in said
    assert len([line for line in said.splitlines() if "rror: " in line]) == 1
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


def test_an_existing_run_needs_a_word(main, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    (tmp_path / "none.fa").write_text("")
    (tmp_path / "out" / ".none_protein.faa.7.tmp").write_text("of a killed run")
    for word, expected in (((), 0), ((), 2), (("--resume",), 0), (("--force",), 0)):
        code, said = main("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", *SMALL, *word)
        assert code == expected
        assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
        if code:
            assert_one_message(said, "A run of none exists in")
            assert_one_message(said, "Add --resume to go on with it, --force to start it over, or choose another")
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
