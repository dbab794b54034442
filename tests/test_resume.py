"""Interruption, death of a worker, and going on from there."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ESM_8M, command, environment

from benchmarks.synthetic_weights import write_classifier
from virnucpro.weights import WeightPaths

READS = 32  # with two workers four parts, of about half a second each


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """Reads of 240 bp whose first frame is open."""
    rng = random.Random(5)
    path = tmp_path_factory.mktemp("reads") / "reads.fa"
    codons = ["GCT", "AAA", "GTT", "CTG", "GAC", "ATG", "TTC", "CCG"]
    path.write_text("".join(f">r{i}\n{''.join(rng.choices(codons, k=80))}\n" for i in range(READS)))
    return path


def options(out):
    return ("--output-dir", out, "--esm-model", ESM_8M, "--parallel", "--no-progress", "--keep-intermediate")


@pytest.fixture(scope="module")
def undisturbed(program, reads, tmp_path_factory):
    """The directory of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = program("predict", reads, *options(out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def whole(undisturbed):
    """Its result files."""
    return results(undisturbed)


def results(out):
    return {path.name: path.read_bytes() for path in (out / "reads_merged").iterdir()}


def start(weights, reads, out, *more):
    """Start a run and wait until its first part is done."""
    process = subprocess.Popen(
        command("predict", reads, *options(out), *more), env=environment(weights), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list(out.glob("reads_features/*.done")) or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return process


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return result


def workers_of(pid):
    """Process ids of the spawned workers, from /proc."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
    return found


def finished(out):
    """Feature files that are done, with their times of writing."""
    return {marker.stem: marker.with_suffix(".pt").stat().st_mtime_ns for marker in out.glob("reads_features/*.done")}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on(program, weights, reads, whole, tmp_path, how):
    out = tmp_path / "out"
    process = start(weights, reads, out)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted. Finished parts are kept; repeat the command with --resume." in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    kept = finished(out)
    assert 1 <= len(kept) < 4
    assert not list(out.rglob("*.tmp"))
    assert not (out / "reads_merged").exists()

    done = program("predict", reads, *options(out), "--resume")
    assert done.returncode == 0, done.stderr
    assert f"Resuming: {len(kept)} of 4 parts are done." in done.stderr
    assert kept.items() <= finished(out).items()  # not written again
    assert results(out) == whole


def test_a_killed_worker_costs_its_parts_only(program, weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "worker on cpu was killed by SIGKILL" in said
    assert "Repeat the command with --resume." in said
    assert "Traceback" not in said
    fates = [line.split("\t") for line in (out / "reads_merged" / "sequences.tsv").read_text().splitlines()[1:]]
    assert len(fates) == READS
    failed = {row[0] for row in fates if row[4] == "failed: worker on cpu was killed by SIGKILL"}
    assert {row[0] for row in fates if row[4] == "scored"} == {f"r{i}" for i in range(READS)} - failed
    assert 0 < len(failed) < READS
    # each read is one chunk: those with a failed frame have no verdict, all others have one
    table = (out / "reads_merged" / "prediction_results_highestscore.csv").read_text().splitlines()[1:]
    assert {line.split("_chunk_")[0] for line in table} == {f"r{i}" for i in range(READS)} - failed
    assert json.loads((out / "reads_run.json").read_text())["status"] == "partial"

    done = program("predict", reads, *options(out), "--resume")
    assert done.returncode == 0, done.stderr
    assert results(out) == whole
    assert json.loads((out / "reads_run.json").read_text())["status"] == "complete"


def test_workers_do_not_outlive_a_killed_parent(weights, reads, tmp_path):
    process = start(weights, reads, tmp_path / "out")
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(_runs(worker) for worker in workers), seconds=30)


def test_two_runs_do_not_share_a_directory(main, weights, reads, undisturbed, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out)
    process.send_signal(signal.SIGSTOP)  # so that it cannot finish first
    try:
        for word in ("--resume", "--force"):
            code, said = main("predict", reads, *options(out), word)
            assert code == 2
            assert "Another process is at work on this run" in said
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert results(out) == whole
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_repeated_interrupts_while_translating_end_the_run(weights, tmp_path, how):
    rng = random.Random(6)
    fasta, out = tmp_path / "large.fa", tmp_path / "out"
    contig = "".join(rng.choices("ACGT", k=500_000))
    fasta.write_text("".join(f">c{i}\n{contig}\n" for i in range(30)))
    process = subprocess.Popen(
        command("predict", fasta, *options(out), "--num-workers", 2),
        env=environment(weights),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: workers_of(process.pid))
    for _ in range(3):
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # to all processes, as a terminal does
        else:
            process.send_signal(how)
        time.sleep(0.2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not out.exists()


def test_a_run_leaves_the_temporary_files_of_others_alone(main, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "S1.fa").write_text("")
    for name in (".S1_L001_nucleotide.fa.7.tmp", ".S1_nucleotide.fa.7.tmp"):
        (out / name).write_text("x")
    assert main("predict", tmp_path / "S1.fa", "--output-dir", out, "--esm-model", ESM_8M, "--resume")[0] == 0
    assert (out / ".S1_L001_nucleotide.fa.7.tmp").exists()
    assert not (out / ".S1_nucleotide.fa.7.tmp").exists()


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_resuming_a_complete_run_does_nothing(main, weights, reads, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    moved = shutil.copytree(weights, tmp_path / "weights")  # the same weights at another place
    code, said = main("predict", reads, *options(out), "--resume", "--weights-dir", moved)
    assert code == 0
    assert "Nothing to do" in said
    without_keeping = [option for option in options(out) if option != "--keep-intermediate"]
    assert main("predict", reads, *without_keeping, "--resume")[0] == 0
    assert times(out) == before  # what was kept once is not removed now


def test_missing_results_are_made_again(program, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    shutil.rmtree(out / "reads_merged")
    done = program("predict", reads, *options(out), "--resume")
    assert "Resuming: 4 of 4 parts are done." in done.stderr
    assert results(out) == whole


def test_another_run_is_not_gone_on_with(main, weights, reads, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    changed = tmp_path / "reads.fa"
    changed.write_text(reads.read_text().replace(">r7\n", ">r7x\n"))
    other = shutil.copytree(weights, tmp_path / "weights")
    write_classifier(other / "500_model.pth", 344, seed=1)
    for source, more, differs in (
        (changed, (), "other input: sha256"),
        (reads, ("--batch-tokens", 100), "other settings: batch_residues (2048 then, 100 now)"),
        (reads, ("--model-type", 300), "other settings: chunk_size (500 then, 300 now)"),
        (reads, ("--weights-dir", other), "other weights: 500_model.pth ("),
    ):
        code, said = main("predict", source, *options(out), "--resume", *more)
        assert code == 2
        assert differs in said
        assert "start over with --force" in said
        assert times(out) == before


def test_without_its_manifest_a_run_is_nobodys(main, reads, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    (out / "reads_run.json").unlink()
    code, said = main("predict", reads, *options(out), "--resume")
    assert code == 2
    assert "no run of virnucpro is recorded in reads_run.json" in said


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_features_made_with_other_weights_are_not_used(program, weights, reads, undisturbed, tmp_path):
    """Even if the manifest said that they may: each marker knows what its features depend on."""
    out = shutil.copytree(undisturbed, tmp_path / "out")
    manifest = json.loads((out / "reads_run.json").read_text())
    other = shutil.copytree(weights, tmp_path / "weights")
    write_classifier(other / "500_model.pth", 344, seed=1)
    paths = WeightPaths(other / f"{ESM_8M}.pt", other / "DNABERT-S", other / "500_model.pth")
    manifest["weights"] = paths.identity()
    manifest["status"] = "running"
    (out / "reads_run.json").write_text(json.dumps(manifest))
    done = program("predict", reads, *options(out), "--resume", "--weights-dir", other)
    assert done.returncode == 0, done.stderr
    assert "parts are done" not in done.stderr


def test_a_damaged_feature_file_is_made_again(program, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    shutil.rmtree(out / "reads_merged")
    cut, flipped = sorted(out.glob("reads_features/*.pt"))[1:3]
    cut.write_bytes(cut.read_bytes()[:-10])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the middle of the numbers
    flipped.write_bytes(content)
    done = program("predict", reads, *options(out), "--resume")
    assert done.returncode == 0, done.stderr
    assert "Resuming: 2 of 4 parts are done." in done.stderr
    assert results(out) == whole
