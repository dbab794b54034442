"""Going on from what is there: complete, killed, damaged, or another run."""

import shutil
from pathlib import Path

import pytest
from conftest import DATA, ESM_8M, assert_one_message
from runs import files_of, finished, options, times

from benchmarks.synthetic_weights import write_classifier

pytestmark = pytest.mark.usefixtures("quick_workers")


def test_resuming_a_complete_run_does_nothing(main, weights, reads, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    moved = shutil.copytree(weights, tmp_path / "weights")  # the same weights at another place
    code, said = main("predict", reads, *options(out), "--resume", "--weights-dir", moved)
    assert code == 0
    assert "Nothing to do" in said
    assert "Checkpoint" not in said
    without_keeping = [option for option in options(out) if option != "--keep-intermediate"]
    assert main("predict", reads, *without_keeping, "--resume")[0] == 0
    assert times(out) == before  # what was kept once is not removed now


def test_an_empty_input_can_be_resumed(main, tmp_path):
    (tmp_path / "none.fa").write_text("")
    run = ("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert main(*run)[0] == 0
    code, said = main(*run, "--resume")
    assert (code, "Nothing to do" in said) == (0, True)


def test_missing_results_are_made_again(main, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    (out / "reads_merged" / "contigs.tsv").unlink()
    code, said = main("predict", reads, *options(out), "--resume")
    assert code == 0
    assert "Checkpoint" not in said  # that they are gone is no damage
    assert files_of(out) == whole


def test_a_complete_run_of_another_chunk_size_is_not_passed_off(main, weights, tmp_path):
    """The classifier's file does not tell: it has another name, and says nothing of chunks."""
    unnamed = shutil.copy(weights / "500_model.pth", tmp_path / "mine.pth")
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert main(*run, "--model-path", unnamed)[0] == 0
    code, said = main(*run, "--model-path", unnamed, "--model-type", 300, "--resume")
    assert (code, "other settings: chunk_size (500 then, 300 now)" in said) == (2, True)
    code, said = main(*run, "--model-path", unnamed, "--attention", "varlen", "--resume")
    assert (code, "other settings: attention (sdpa then, varlen now)" in said) == (2, True)
    assert "Nothing to do" in main(*run, "--model-path", unnamed, "--attention", "sdpa", "--resume")[1]


@pytest.mark.parametrize("workers", [(), ("--parallel", "--workers-per-gpu", 2)])
def test_a_file_of_the_users_is_not_written_over(main, tmp_path, workers):
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M, *workers)
    assert main(*run)[0] == 0
    mine = tmp_path / "out" / "small_protein.faa"
    mine.write_text("mine\n")
    before = files_of(tmp_path / "out")
    code, said = main(*run, "--force", "--keep-intermediate")
    assert code == 2
    assert_one_message(said, f"{mine} exists, and this run did not write it. Move it away.")
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("state", ["undisturbed", "killed"])
def test_another_run_is_not_gone_on_with(main, weights, reads, request, tmp_path, state):
    out = shutil.copytree(request.getfixturevalue(state), tmp_path / "out")
    for hidden in out.rglob(".*"):  # the killed run's lock and temporary files
        hidden.unlink()
    before = times(out)
    changed = tmp_path / "reads.fa"
    changed.write_text(reads.read_text().replace(">r7\n", ">r7x\n"))
    other = shutil.copytree(weights, tmp_path / "weights")
    write_classifier(other / "500_model.pth", 344, seed=1)
    for source, more, differs in (
        (changed, (), "other input: sha256"),
        (reads, ("--batch-tokens", 100), "other settings: batch_tokens (2048 then, 100 now)"),
        (reads, ("--deterministic",), "other settings: "),
        (reads, ("--save-embeddings",), "other settings: save_embeddings"),
        (reads, ("--model-type", 300), "other settings: chunk_size (500 then, 300 now)"),
        (reads, ("--model-type", "custom", "--model-path", other / "300_model.pth"), "other "),
        (reads, ("--weights-dir", other), "other weights: 500_model.pth ("),
    ):
        code, said = main("predict", source, *options(out), "--resume", *more)
        assert code == 2, differs
        assert differs in said
        assert "start over with --force" in said
        assert times(out) == before
    code, said = main("predict", reads, *options(out, buffer_size=5), "--resume")
    assert (code, "other settings: buffer_size (4 then, 5 now)" in said) == (2, True)
    assert times(out) == before


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda path: path.unlink(), "no run of virnucpro is recorded in reads_run.json"),
        (lambda path: path.write_text(path.read_text()[:100]), "is no manifest of a run"),
        (lambda path: path.write_text("[]"), "is no manifest of a run"),
        (lambda path: path.write_text(path.read_text().replace('"settings"', '"sett"')), "it lacks entries"),
    ],
)
def test_without_its_manifest_a_run_is_nobodys(main, reads, undisturbed, tmp_path, spoil, said):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    spoil(out / "reads_run.json")
    before = times(out)
    for word in ("--resume", "--force"):
        code, told = main("predict", reads, *options(out), word)
        assert code == 2
        assert said in told
        assert times(out) == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the middle
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "is damaged or of another run"),
        (flip, "is damaged or of another run"),
        (lambda path: shutil.copy(path.with_stem("000000"), path), "is damaged or of another run"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_damaged_checkpoint_is_computed_again(main, reads, killed, whole, tmp_path, damage, said):
    out = shutil.copytree(killed, tmp_path / "out")
    damage(out / "reads_windows" / "000001.safetensors")
    code, told = main("predict", reads, *options(out), "--resume")
    assert code == 0
    assert f"Checkpoint 000001.safetensors {said}: its windows are computed again." in told
    assert f"Resuming: {len(finished(killed)) - 1} windows are done." in told
    assert files_of(out) == whole


def test_force_keeps_the_old_results_until_the_new_run_has_begun(main, weights, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    broken = shutil.copytree(weights, tmp_path / "weights")
    (broken / f"{ESM_8M}.pt").write_text("<html>")
    assert main("predict", reads, *options(out), "--force", "--weights-dir", broken)[0] == 2
    assert times(out) == before
    (out / "mine.txt").write_text("x")
    assert main("predict", reads, *options(out), "--force")[0] == 0
    assert files_of(out) == whole | {"mine.txt": b"x"}
    assert not before.items() & times(out).items()


@pytest.mark.parametrize("more", [("--num-workers", 1), ("--parallel",)])
def test_an_input_of_few_windows_is_not_through_before_the_run_begins(main, tmp_path, more):
    """Its intermediate files would be whole before the models are loaded, and go with the old run's."""
    fasta, out = tmp_path / "reads.fa", tmp_path / "out"
    fasta.write_text(">a\nGCTAAAGTTCTG\n")
    assert main("predict", fasta, *options(out), *more)[0] == 0
    before = files_of(out)
    assert "reads_protein.faa" in before
    assert main("predict", fasta, *options(out), *more, "--force")[0] == 0
    assert files_of(out) == before


@pytest.mark.parametrize(
    "changed_to, message", [(">rx", "changed while it was read"), ("> r40", "record 41 has no id")]
)
def test_input_that_changes_meanwhile_leaves_nothing_to_go_on_from(
    main, reads, whole, tmp_path, monkeypatch, changed_to, message
):
    from virnucpro.pipeline import run as pipeline

    source, out = Path(shutil.copy(reads, tmp_path)), tmp_path / "out"
    plain = pipeline.compute
    monkeypatch.setattr(
        pipeline, "compute", lambda run: source.write_text(reads.read_text().replace(">r40", changed_to)) and plain(run)
    )
    code, said = main("predict", source, *options(out))
    assert code == 1
    assert message in said
    assert not list(out.rglob("*.tmp"))
    assert not (out / "reads_windows").exists()
    monkeypatch.setattr(pipeline, "compute", plain)
    shutil.copy(reads, source)
    code, said = main("predict", source, *options(out), "--resume")
    assert code == 0
    assert "Checkpoint" not in said
    assert files_of(out) == whole
