"""kill -9 at any moment, even several times, and --resume: the same files as without."""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ESM_8M, environment
from runs import write_reads
from surroundings import HANG

READS = 7  # of which a run writes three checkpoints


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    return write_reads(tmp_path_factory.mktemp("reads") / "reads.fa", READS, codons=8, seed=3)


@pytest.fixture(scope="module")
def server(weights):
    """See `doomed`; one for all settings, since it takes longest to start."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("doomed.py")],
        env=environment(weights) | {"OMP_NUM_THREADS": "1"},  # the number of threads decides the last bits
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        yield process


class Program:
    """The program, with a choice of when it is killed; see `doomed`."""

    def __init__(self, server, reads, more):
        self._server, self._reads, self._more = server, reads, more

    def __call__(self, out, *words, **kill):
        """Run it; returns the exit status (-9: killed) and seconds."""
        options = (
            "--output-dir",
            out,
            "--esm-model",
            ESM_8M,
            "--no-progress",
            "--keep-intermediate",
            "--save-embeddings",
        )
        windows = ("--set", "buffer_size=4", "--set", "checkpoint_seq_threshold=8")
        argv = ["-q", "predict", self._reads, *options, *windows, *self._more, *words]
        self._server.stdin.write(json.dumps({"argv": list(map(str, argv)), **kill}) + "\n")
        self._server.stdin.flush()
        told = json.loads(self._server.stdout.readline())
        deadline = time.monotonic() + HANG
        while processes_of(told["session"]):
            assert time.monotonic() < deadline, "processes are left"
            time.sleep(0.01)
        return told["code"], told["seconds"]

    def to_the_end(self, out):
        """Resume; returns the files."""
        assert self(out, "--resume")[0] == 0
        return files_of(out)


def processes_of(session):
    """Of what a run has started, all that are not just waiting to be reaped."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = place.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(place.parent.name)
    return found


@pytest.fixture(scope="module", params=[(), ("--parallel",)], ids=["inline", "two workers"])
def setting(request, server, reads, tmp_path_factory):
    """The program, the files of an undisturbed run, and how long it takes."""
    program = Program(server, reads, request.param)
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, seconds = program(out)
    assert code == 0
    return program, files_of(out), seconds


def files_of(out):
    """All files of a directory, hidden ones too; of manifest and telemetry only what does not depend on time."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("reads_run.json"))
    if "telemetry_reads.json" in files:
        files["telemetry_reads.json"] = json.loads(files["telemetry_reads.json"])["run_metadata"]["settings"]
    return files | {"status": manifest["status"], "settings": manifest["settings"], "weights": manifest["weights"]}


def test_an_undisturbed_run_leaves_results_only(setting):
    _, files, _ = setting
    assert sorted(files) == [
        "reads_chunked500.fa",
        "reads_merged/contigs.tsv",
        "reads_merged/embeddings.h5",
        "reads_merged/prediction_results.txt",
        "reads_merged/prediction_results_highestscore.csv",
        "reads_merged/sequences.tsv",
        "reads_nucleotide.fa",
        "reads_protein.faa",
        "settings",
        "status",
        "telemetry_reads.json",
        "weights",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_times(setting, tmp_path, seed):
    """Three times in a row, from start-up to the report, before the run may come to its end."""
    program, undisturbed, seconds = setting
    rng = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(3):
        code, _ = program(out, "--resume", after=rng.uniform(0.05, seconds))
        assert code in (-9, 0)  # what is resumed may be through before
    assert program.to_the_end(out) == undisturbed


# Before it is forced to disk a file lies there as before it takes its name, so of these some will do; before what is
# left of its own name goes, as after that. Of the latter those beginning with the second end with the lock: they are of
# every kind, also room for embeddings, and windows that the results have taken in.
@pytest.mark.parametrize("function, first, stride", [("replace", 1, 1), ("fsync", 1, 4), ("unlink", 2, 3)])
def test_killed_at_every_step(setting, tmp_path, function, first, stride):
    """Before each file takes its name, is forced to disk, or goes, and once more after that."""
    program, undisturbed, _ = setting
    if program._more and function != "replace":
        pytest.skip("the parent writes the same files as a run without workers")
    rng = random.Random(1)
    for number in range(first, 50, 6 if program._more else stride):
        out = tmp_path / str(number)
        code, _ = program(out, at=(function, number))
        if code == 0:
            break
        assert code == -9
        program(out, "--resume", at=(function, rng.randint(1, number + 2)))
        assert program.to_the_end(out) == undisturbed
    else:
        pytest.fail("there are more steps than that")
    assert number > 4


def test_killed_while_it_starts_over(setting, tmp_path):
    """--force removes the old run file by file, its manifest last; killed meanwhile, it can be gone on with."""
    program, undisturbed, _ = setting
    if program._more:
        pytest.skip("the parent removes the files of a run, with workers or without")
    assert program(tmp_path / "old", at=("replace", 8))[0] == -9
    for number in range(1, 12, 2):
        out = shutil.copytree(tmp_path / "old", tmp_path / str(number))
        assert program(out, "--force", at=("unlink", number))[0] == -9
        assert program.to_the_end(out) == undisturbed
