"""virnucpro as a library: predict, embed, run_multi_gpu_inference."""

import json
import random
import shutil
import subprocess
import sys
from functools import lru_cache

import h5py
import numpy as np
import pytest
import torch
from conftest import ESM_8M, ROOT
from references import assert_equal_within_float32

import virnucpro
from benchmarks.support.reference import fair_esm_features
from virnucpro.config.placement import Placement
from virnucpro.config.settings import Settings
from virnucpro.errors import BadInput, BadRequest, Interrupted
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.run import run
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.utils.telemetry import aggregate_telemetry_shards

pytestmark = pytest.mark.usefixtures("quick_workers")
WIDTH = 320


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def proteins(tmp_path):
    """Three files; lengths go up and down, so that packs are not in order of the input; one protein is empty."""
    rng = random.Random(2)
    paths, expected = [], {}
    for number, name in enumerate(("b.faa", "a.faa", "none.faa")):
        records = {
            f"p{number}_{i}": "".join(rng.choices("ADEFGHIKLMNPQRSTVWY", k=rng.randint(3, 60))) for i in range(12)
        }
        records = {} if name == "none.faa" else records | {f"p{number}_none": ""}
        paths.append(tmp_path / name)
        paths[-1].write_text("".join(f">{key} words\n{residues}\n" for key, residues in records.items()))
        expected |= records
    return paths, expected


@pytest.fixture
def model(weights):
    return {"model_type": "esm2", "model_name": ESM_8M, "weights_dir": weights}


by_fair_esm = lru_cache(lambda path, *residues: fair_esm_features(path, list(residues)))


def content(path):
    with h5py.File(path) as file:
        return file["ids"].asstr()[:].tolist(), file["embeddings"][:], dict(file.attrs)


@pytest.mark.parametrize("world_size", [None, 1, 2])
def test_embeddings_of_several_files(proteins, model, weights, tmp_path, world_size):
    paths, records = proteins
    out = tmp_path / "out"
    config = RuntimeConfig(buffer_size=8, checkpoint_seq_threshold=5)
    path, failed_ranks = run_multi_gpu_inference(paths, out, model, world_size, runtime_config=config)
    assert (path, failed_ranks) == (out / "b_merged" / "embeddings.h5", [])
    ids, features, attributes = content(path)
    there = {name: residues for name, residues in records.items() if residues}
    assert ids == list(there)  # in order of the files, and of the records in them
    assert features.dtype == np.float32
    assert features.shape == (24, WIDTH)
    assert_equal_within_float32(torch.from_numpy(features), by_fair_esm(weights / f"{ESM_8M}.pt", *there.values()))
    assert attributes["virnucpro"] == virnucpro.__version__
    assert (attributes["model"], attributes["precision"], attributes["attention"]) == (ESM_8M, "fp32", "sdpa")
    assert (attributes["device"], attributes["torch"]) == ("CPU", torch.__version__)
    assert list(json.loads(attributes["weights_sha256"])) == [f"{ESM_8M}.pt"]
    assert sorted(each.name for each in out.iterdir()) == [
        "b_merged", "b_run.json", "telemetry_b.json",
    ]  # fmt: skip
    fates = [line.split("\t")[4] for line in (out / "b_merged" / "sequences.tsv").read_text().splitlines()[1:]]
    assert fates == (["embedded"] * 12 + ["empty"]) * 2

    summary = json.loads((out / "telemetry_b.json").read_text())["summary"]
    assert summary["sequences"] == 24
    assert summary["tokens"] == sum(len(residues) + 2 for residues in there.values())
    assert summary["batches"] == 6  # windows of 1, 2, 4, 8, 8 and 3 proteins
    assert sum(rank["sequences"] for rank in summary["per_rank"].values()) == 24
    assert aggregate_telemetry_shards([out / "telemetry_b.json"])["summary"]["tokens"] == summary["tokens"]


def test_a_second_call_does_nothing_unless_it_must(proteins, model, tmp_path):
    paths, records = proteins
    out = tmp_path / "out"
    path, _ = run_multi_gpu_inference(paths, out, model)
    before = {each: each.stat().st_mtime_ns for each in out.rglob("*")}
    assert run_multi_gpu_inference(paths, out, model) == (path, [])
    assert {each: each.stat().st_mtime_ns for each in out.rglob("*")} == before

    paths[1].write_text(">new\nMKV\n")
    with pytest.raises(BadRequest, match="other input: records"):
        run_multi_gpu_inference(paths, out, model)
    assert {each: each.stat().st_mtime_ns for each in out.rglob("*")} == before
    run_multi_gpu_inference(paths, out, model, runtime_config=RuntimeConfig(force_restart=True))
    ids, features, _ = content(path)
    assert ids == [*(name for name, residues in records.items() if residues and name.startswith("p0")), "new"]
    assert len(features) == 13
    assert json.loads((out / "telemetry_b.json").read_text())["summary"]["sequences"] == 13


@pytest.mark.parametrize(
    "change, world_size, message",
    [
        ({"model": ESM_8M}, None, "model_config has 'model'. Known keys: "),
        ({"model_type": "esm1"}, None, "model_type is 'esm1'"),
        ({"model_name": "esm2_7M"}, None, "--esm-model esm2_7M is unknown"),
        ({"enable_fp16": "yes"}, None, "enable_fp16 is 'yes'"),
        ({}, 0, "world_size is 0"),
        ({}, -1, "world_size is -1"),
        ({}, True, "world_size is True"),
        ({}, 1.0, "world_size is 1.0"),
        ({"weights_dir": "nowhere"}, None, "Missing weights in nowhere"),
    ],
)
def test_bad_requests(proteins, model, tmp_path, change, world_size, message):
    with pytest.raises(BadRequest, match=message.replace(".", r"\.")):
        run_multi_gpu_inference(proteins[0], tmp_path / "out", model | change, world_size)
    assert not (tmp_path / "out").exists()


def test_one_file(proteins, model, tmp_path):
    path, _ = run_multi_gpu_inference(str(proteins[0][1]), tmp_path / "out", model)
    assert path == tmp_path / "out" / f"{proteins[0][1].stem}_merged" / "embeddings.h5"
    assert len(content(path)[0]) == 12


def test_a_gpu_that_torch_cannot_use(weights, tmp_path, monkeypatch):
    """One that the driver lists, as for a torch without CUDA or a driver that is too old for it."""
    monkeypatch.setattr("virnucpro.pipeline.run.place", lambda *_: Placement(("cuda:0",)))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "p.faa").write_text(">p\nMKV\n")
    with pytest.raises(BadRequest, match=r"The driver lists cuda:0, but torch \S+ cannot use it"):
        virnucpro.predict(tmp_path / "p.faa", tmp_path / "out", weights_dir=weights, esm_model=ESM_8M)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gpus", [(), (0, 0), (-1,)])
def test_gpus_that_are_none(proteins, weights, tmp_path, gpus):
    with pytest.raises(BadRequest, match="give indices of 0 or more, each once"):
        virnucpro.predict(proteins[0][1], tmp_path / "out", weights_dir=weights, gpus=gpus)
    assert not (tmp_path / "out").exists()


def test_bad_files(proteins, model, tmp_path):
    paths, _ = proteins
    shutil.copy(paths[0], tmp_path / "again.faa")
    for files, error, message in (
        ([], BadRequest, "at least one input file"),
        ([paths[0], paths[0]], BadRequest, "each once"),
        ([paths[0], tmp_path / "missing.faa"], BadRequest, "missing.faa"),
        ([paths[0], tmp_path / "again.faa"], BadInput, "records 1 and 14 have the same id 'p0_0'"),
    ):
        with pytest.raises(error, match=message):
            run_multi_gpu_inference(files, tmp_path / "out", model)
        assert not (tmp_path / "out").exists()


def test_timeout_is_that_of_an_attempt(proteins, model, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def seen(settings, telemetry):
        assert settings.runtime == RuntimeConfig(timeout_per_attempt=7.0, buffer_size=3)
        raise Seen

    monkeypatch.setattr("virnucpro.pipeline.multi_gpu_inference.run", seen)
    with pytest.raises(Seen):
        run_multi_gpu_inference(proteins[0], tmp_path, model, timeout=7.0, runtime_config=RuntimeConfig(buffer_size=3))


def test_embed(proteins, weights, tmp_path):
    path = virnucpro.embed(proteins[0][1], tmp_path / "out", weights_dir=weights, esm_model=ESM_8M, world_size=1)
    ids, features, _ = content(path)
    assert ids == [f"p1_{i}" for i in range(12)]
    assert features.shape == (12, WIDTH)


def test_dna_is_not_embedded(weights, tmp_path):
    (tmp_path / "dna.fa").write_text(">a\nATGGCCAAAGTTCTGGACGCC\n")
    with pytest.raises(BadRequest, match=r"DNA, where proteins were asked for\. .* call predict instead of embed\.$"):
        virnucpro.embed(tmp_path / "dna.fa", tmp_path / "out", weights_dir=weights, esm_model=ESM_8M)
    assert not (tmp_path / "out").exists()


def test_predict(weights, tmp_path, monkeypatch):
    (tmp_path / "reads.fa").write_text(">r1\n" + "GCTAAAGTTCTG" * 10 + "\n>r2\n\n")
    monkeypatch.setenv("VIRNUCPRO_WEIGHTS", str(weights))
    options = {"esm_model": ESM_8M, "model_type": "300"}
    summary = virnucpro.predict(tmp_path / "reads.fa", tmp_path / "out", save_embeddings=True, **options)
    assert summary.results == tmp_path / "out" / "reads_merged"
    assert summary.fates == {"scored": 1, "empty": 1}
    assert (summary.counts.chunks, summary.counts.contigs) == (1, 1)
    assert summary.failed_ranks == []
    frames = [line.split("\t")[0] for line in (summary.results / "prediction_results.txt").read_text().splitlines()[1:]]
    assert summary.performance["sequences"] == len(frames)
    with h5py.File(summary.embeddings) as file:
        assert file["ids"].asstr()[:].tolist() == frames
        assert file["embeddings"].shape == (len(frames), WIDTH)
        assert file["dnabert_s"].shape == (len(frames), 24)
    with pytest.raises(BadRequest, match="exists"):
        virnucpro.predict(tmp_path / "reads.fa", tmp_path / "out", **options)
    again = virnucpro.predict(tmp_path / "reads.fa", tmp_path / "out", resume=True, save_embeddings=True, **options)
    assert (again.fates, again.counts) == (summary.fates, None)
    assert virnucpro.predict(tmp_path / "reads.fa", tmp_path / "out", force=True, **options).embeddings is None


@pytest.mark.parametrize("checkpoints", [True, False])
def test_stopped_from_another_place(proteins, weights, tmp_path, monkeypatch, checkpoints):
    """`started` hands out what ends a run early; without checkpoints there is nothing to go on from."""
    config = RuntimeConfig(buffer_size=4, checkpoint_seq_threshold=1, enable_checkpointing=checkpoints)
    out = tmp_path / "out"
    settings = {"weights_dir": weights, "esm_model": ESM_8M, "show_progress": False, "runtime": config}
    inputs = tuple(map(str, proteins[0]))

    def started(computation):
        plain = computation.store.add
        computation.store.add = lambda window: (plain(window), window.index == 1 and computation.stop())[0]

    with pytest.raises(Interrupted):
        run(Settings(inputs, out, **settings), started=started)
    assert len(list(out.glob("b_windows/*"))) == (2 if checkpoints else 0)
    assert [entry["windows"] for entry in json.loads((out / "b_run.json").read_text())["checkpoints"]] == (
        [[0], [1]] if checkpoints else []
    )
    summary = run(Settings(inputs, out, resume=True, **settings))
    assert summary.performance["batches"] == (7 if checkpoints else 9)  # of 1, 1, 2 and then 4 records
    assert summary.fates == {"embedded": 24, "empty": 2}
    assert not (out / "b_windows").exists()


def test_importing_it_imports_little():
    code = (
        "import sys, virnucpro, virnucpro.cli, virnucpro.pipeline.runtime_config, virnucpro.executors.coordinator\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_lets_go_of_its_models(main, tmp_path):
    """At once: who runs one input after the other would else have several in memory until Python looks for cycles."""
    import gc

    from virnucpro.engine.model_runner import ModelRunner

    (tmp_path / "x.fa").write_text(">a\nATGGCCAAAGTTCTGGAC\n")
    gc.collect()
    gc.disable()
    try:
        code, said = main("predict", tmp_path / "x.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
        assert code == 0, said
        assert not [thing for thing in gc.get_objects() if isinstance(thing, ModelRunner)]
    finally:
        gc.enable()
