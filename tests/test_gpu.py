"""What only a GPU can show. Run on a GPU host with: python -m pytest tests/test_gpu.py

Axes: T tokens of a pack, D model width, F of the MLP.
"""

import logging
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace

import packing
import pytest
import torch
from conftest import DATA, ESM_8M, ROOT, command, environment
from packing import random_dna, random_proteins
from references import assert_equal_within_float32, hugging_face_features, worst
from runs import wait_for
from torch import nn

from benchmarks import synthetic_weights, workloads
from benchmarks.support.reference import dnabert_features
from virnucpro.cli import main
from virnucpro.config.placement import Placement
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.results import finish
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.dnabert_s import load_dnabert
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.ops import Ops, Plain, choose_ops
from virnucpro.models.tokens import dnabert_tokens, load_tokenizer
from virnucpro.pipeline.checkpoints import CheckpointStore
from virnucpro.streaming import Embedder

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda", 0)
PROTEINS = random_proteins([1, 7, 300, 2, 166, 1024, 50] * 3, seed=3)
REAL = DATA / "real_mixed.fa"
LOW = [torch.float16, torch.bfloat16]


def backend_or_skip(name: str, dtype: torch.dtype) -> str:
    if cause := attention.unusable(name, CUDA, packing.precision_of(dtype)):
        pytest.skip(f"--attention {name} {cause.reason}")
    return name


def fused_or_skip() -> Ops:
    ops, what = choose_ops(CUDA, packing.precision_of(torch.float16), 2560)
    if isinstance(ops, Plain):
        pytest.skip(what)
    return ops


@pytest.fixture(scope="module")
def esm2_8m(tmp_path_factory):
    """A fair-esm file and a Hugging Face folder with the same values, and the features in float32 on the CPU."""
    folder = tmp_path_factory.mktemp("esm2")
    synthetic_weights.write_fair_esm(folder / "esm2.pt", 6, 320, 20)
    synthetic_weights.write_hugging_face_esm(folder / "esm2", 6, 320, 20)
    return folder, packing.run_esm2(load_esm2(folder / "esm2.pt", torch.device("cpu")), PROTEINS)


@pytest.fixture(scope="module")
def dnabert(tmp_path_factory):
    """A folder with two layers of the published width, tokens, and their features in float32 on the CPU."""
    folder = tmp_path_factory.mktemp("dnabert")
    synthetic_weights.write_dnabert(folder, num_hidden_layers=2)
    token_ids = dnabert_tokens(load_tokenizer(folder), random_dna([3, 500, 61, 1, 199, 500, 480] * 3, seed=4))
    return folder, token_ids, packing.run(load_dnabert(folder, torch.device("cpu")), token_ids, 2048)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A weights directory whose heads all attention backends take: DNABERT-S has the published width, in two layers."""
    folder = tmp_path_factory.mktemp("wide")
    synthetic_weights.write_fair_esm(folder / f"{ESM_8M}.pt", 6, 320, 20)
    synthetic_weights.write_dnabert(folder / "DNABERT-S", num_hidden_layers=2)
    synthetic_weights.write_classifier(folder / "500_model.pth", 320 + 768)
    return folder


@pytest.mark.parametrize("budget, ops", [(1, "plain"), (2048, "plain"), (8192, "plain"), (8192, "fused")])
def test_float32_on_the_gpu_equals_float32_on_the_cpu(esm2_8m, budget, ops):
    folder, on_cpu = esm2_8m
    chosen = fused_or_skip() if ops == "fused" else Plain()
    found = packing.run_esm2(load_esm2(folder / "esm2.pt", CUDA), PROTEINS, budget, ops=chosen)
    assert_equal_within_float32(found, on_cpu)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("backend", ["triton", "varlen", "sdpa"])
@pytest.mark.parametrize("ops", ["plain", "fused"])
def test_low_precision_errs_little_more_than_the_plainest(esm2_8m, dtype, backend, ops):
    """Which is transformers' model with weights and all in that type, one protein at a time."""
    folder, exact = esm2_8m
    chosen = fused_or_skip() if ops == "fused" else Plain()
    backend_or_skip(backend, dtype)
    plain = hugging_face_features(folder / "esm2", PROTEINS, dtype, "cuda")
    found = packing.run_esm2(
        load_esm2(folder / "esm2.pt", CUDA, packing.precision_of(dtype)), PROTEINS, 8192, backend=backend, ops=chosen
    )
    assert worst(found - exact) <= 2 * worst(plain - exact)


def test_the_pause_between_two_calls_is_no_idle_time(wide):
    with Embedder(wide, ESM_8M, loaders=0) as embedder:
        for _ in range(2):
            window, *_ = embedder.embed([("a", "MKVLAAGIVGLCAKAYEQRS")])
            assert (window.failures, window.cost.idle_seconds) == ({}, None)


def test_dnabert_in_float32_on_the_gpu_equals_the_cpu(dnabert):
    folder, token_ids, on_cpu = dnabert
    assert_equal_within_float32(packing.run(load_dnabert(folder, CUDA), token_ids, 8192), on_cpu)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("backend", ["triton", "sdpa"])
@pytest.mark.parametrize("ops", ["plain", "fused"])
def test_dnabert_errs_little_more_than_the_plainest(dnabert, dtype, backend, ops):
    folder, token_ids, exact = dnabert
    chosen = fused_or_skip() if ops == "fused" else Plain()
    backend_or_skip(backend, dtype)
    found = packing.run(
        load_dnabert(folder, CUDA, packing.precision_of(dtype)), token_ids, 8192, backend=backend, ops=chosen
    )
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    state = {name: tensor.to(CUDA, dtype) for name, tensor in state.items()}
    plain = torch.stack([dnabert_features(state, ids, 2, 12) for ids in token_ids])
    assert worst(found - exact) <= 2 * worst(plain - exact)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("width", [320, 768, 2560])
@pytest.mark.parametrize("with_delta", [False, True])
def test_the_fused_norm_errs_little_more_than_the_plain_one(dtype, width, with_delta):
    fused, generator = fused_or_skip(), torch.Generator("cuda").manual_seed(0)
    norm = nn.LayerNorm(width, device=CUDA, dtype=dtype).requires_grad_(False)
    x_TD, delta_TD, weight, bias = torch.randn(4, 70, width, generator=generator, device=CUDA).to(dtype)
    norm.weight.data, norm.bias.data = weight[0].clone(), bias[0].clone()
    x_TD = 3 * x_TD + 2
    exact = Plain.add_norm(x_TD.double(), delta_TD.double() if with_delta else None, norm.to(torch.double))
    norm = norm.to(dtype)
    plain = Plain.add_norm(x_TD, delta_TD if with_delta else None, norm)
    found = fused.add_norm(x_TD.clone(), delta_TD.clone() if with_delta else None, norm)
    for one, other, right in zip(found, plain, exact, strict=True):
        assert one.dtype == dtype
        assert worst(one - right) <= 2 * worst(other - right)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("width", [40, 1280, 6144])
@pytest.mark.parametrize("scale", [0.1, 1, 3])  # the largest error is that of the largest numbers
def test_the_fused_gated_gelu_errs_little_more_than_the_plain_one(dtype, width, scale):
    fused, generator = fused_or_skip(), torch.Generator("cuda").manual_seed(0)
    x_TF = (scale * torch.randn(71, width, generator=generator, device=CUDA)).to(dtype)
    exact, plain = (Plain.gated_gelu(x) for x in (x_TF.double(), x_TF))
    found = fused.gated_gelu(x_TF.clone())
    assert found.dtype == dtype
    assert worst(found - exact) <= 2 * worst(plain - exact)


@pytest.mark.parametrize("backend", ["triton", "varlen", "sdpa"])
def test_no_protein_sees_another(esm2_8m, backend):
    folder, _ = esm2_8m
    ops, _ = choose_ops(CUDA, packing.precision_of(torch.float16), 320)
    model = load_esm2(folder / "esm2.pt", CUDA, packing.precision_of(torch.float16))
    options = {"backend": backend_or_skip(backend, torch.float16), "ops": ops}
    before = packing.run_esm2(model, PROTEINS, 8192, **options)
    assert torch.equal(packing.run_esm2(model, PROTEINS, 8192, **options), before)
    for changed in (2, 5, 20):
        other = "W" * len(PROTEINS[changed])
        after = packing.run_esm2(model, [*PROTEINS[:changed], other, *PROTEINS[changed + 1 :]], 8192, **options)
        others = [i for i in range(len(PROTEINS)) if i != changed]
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[changed], before[changed])


@pytest.mark.parametrize("backend", ["triton", "sdpa"])
def test_no_dna_sees_another(dnabert, backend):
    folder, token_ids, _ = dnabert
    model = load_dnabert(folder, CUDA, packing.precision_of(torch.float16))
    backend_or_skip(backend, torch.float16)
    before = packing.run(model, token_ids, 8192, backend=backend)
    for changed in (0, 1, 6):
        other = [token + 1 for token in token_ids[changed]]
        after = packing.run(model, [*token_ids[:changed], other, *token_ids[changed + 1 :]], 8192, backend=backend)
        others = [i for i in range(len(token_ids)) if i != changed]
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[changed], before[changed])


def numbers(engine, reads, buffer_size):
    """Features and scores of every frame by its name."""
    found = {}
    for window in packing.windows_of(reads, buffer_size=buffer_size):
        done = finish(window, [engine.submit(FrontEnd(engine.config)[window]).result()])
        rows = zip(done.features["esm2"], done.features["dnabert_s"], done.scores_S2, strict=True)
        found |= dict(zip(done.sequence_names("nucleotide"), rows, strict=True))
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_deterministic_numbers_do_not_depend_on_company_to_the_last_bit(wide, precision):
    changes = {"deterministic": True, "token_budget": 1, "precision": precision}
    engine = ModelRunner(packing.recipe(wide, **changes), CUDA)
    reads = dict(workloads.reads(20))
    expected = numbers(engine, reads, 64)
    assert len(expected) > len(reads)
    for others, buffer_size in ((dict(reversed(reads.items())), 64), (reads, 3), (reads | {"new": "ATGGCC" * 9}, 1000)):
        found = numbers(engine, others, buffer_size)
        for name, rows in expected.items():
            assert all((one == other).all() for one, other in zip(found[name], rows, strict=True))


@pytest.mark.parametrize("kind", ["nucleotide", "protein"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_host_waits_for_nothing_while_it_queues_a_window(wide, kind, precision):
    engine = ModelRunner(packing.recipe(wide, kind, precision=precision, audit=precision == "int8"), CUDA)
    proteins = {f"p{i}": protein for i, protein in enumerate(PROTEINS)}
    sequences = proteins if kind == "protein" else dict(workloads.reads(20))
    *_, last = packing.windows_of(sequences, kind)
    prepared = FrontEnd(engine.config)[replace(last, audited=4)]
    first = engine.submit(prepared).result()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = engine.submit(prepared)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    result = pending.result()
    assert (result.features["esm2"] == first.features["esm2"]).all()
    if precision == "int8":
        assert len(result.audited_A) == 4 and (result.cosines_AM > 0.9).all()
        assert (result.cosines_AM == first.cosines_AM).all()


def test_a_pack_that_does_not_fit_is_halved(wide, caplog):
    engine = ModelRunner(packing.recipe(wide, "protein", token_budget=100_000), CUDA)
    proteins = {f"p{i}": protein for i, protein in enumerate(PROTEINS * 5)}
    first, *_ = packing.windows_of(proteins, "protein", buffer_size=10_000)
    prepared = FrontEnd(engine.config)[first]  # one pack
    held = torch.cuda.memory_allocated()  # by what other tests have left, too
    torch.cuda.reset_peak_memory_stats()
    whole = engine.submit(prepared).result()
    assert whole.packs == 1
    peak = torch.cuda.max_memory_allocated()
    assert "Out of GPU memory" not in caplog.text
    torch.cuda.empty_cache()
    kept, (_, total) = torch.cuda.memory_reserved(), torch.cuda.mem_get_info()
    with caplog.at_level(logging.WARNING):
        torch.cuda.set_per_process_memory_fraction((kept + 0.6 * (peak - held)) / total)
        try:
            halved = engine.submit(prepared).result()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert "Out of GPU memory on a pack of" in caplog.text
    assert not halved.failures
    assert_equal_within_float32(*(torch.from_numpy(each.features["esm2"]) for each in (halved, whole)))


def results(out):
    """The result files of a run, by name."""
    return {path.name: path.read_bytes() for path in out.glob("*_merged/*")}


@pytest.fixture
def predict(wide, monkeypatch, tmp_path, capfd):
    """The command line on the GPU: returns (exit code, result files, standard error)."""
    monkeypatch.setenv("VIRNUCPRO_WEIGHTS", str(wide))

    def run(name, *options, fasta=DATA / "small.fa"):
        out = tmp_path / name
        given = ("--esm-model", ESM_8M, "--output-dir", str(out), "--gpus", "0", *options)
        code = main(["predict", str(fasta), *given])
        return code, results(out), capfd.readouterr().err

    return run


def test_predict_runs_on_the_gpu(predict):
    code, files, said = predict("out")
    assert code == 0
    assert "cuda:0 (" in said
    assert "FP16, attention " in said
    assert "Peak GPU memory on cuda:0" in said
    assert len(files["prediction_results.txt"].splitlines()) > 2
    code, files, said = predict("none", "--gpus", "99")
    assert code == 2
    assert not files
    assert "--gpus asks for GPU 99" in said


@pytest.mark.parametrize(
    "options", [(), ("--num-workers", "2"), ("--precision", "fp32"), ("--precision", "int8"), ("--parallel",)]
)
def test_two_runs_give_the_same_bytes(predict, options):
    (one, first, _), (other, second, _) = (predict(name, *options) for name in ("one", "other"))
    assert one == other == 0
    assert len(first) == 4
    assert first == second


def windows_of(count):
    """Options for windows of so many chunks, each a checkpoint."""
    return ("--save-embeddings", "--set", f"buffer_size={count}", "--set", "checkpoint_seq_threshold=1")


SLOW = (*windows_of(8), "--batch-tokens", "64")  # a pack a sequence


def test_a_worker_process_gives_the_same_bytes(predict):
    """A program that is to watch the clock leaves the GPU to a worker."""
    (_, inline, _), (code, watched, said) = (
        predict(name, *windows_of(64), *options, fasta=REAL)
        for name, options in (("inline", ()), ("watched", ("--set", "timeout_per_attempt=300")))
    )
    assert code == 0, said
    assert len(inline) == 5
    assert watched == inline


def test_a_lost_worker_only_costs_time(predict, monkeypatch):
    """Two workers share the GPU, as they would share a queue on two; one is killed when two windows are finished."""
    _, whole, _ = predict("whole", *windows_of(16), fasta=REAL)
    monkeypatch.setattr("virnucpro.pipeline.run.place", lambda *_: Placement(("cuda:0", "cuda:0")))
    plain, added = CheckpointStore.add, []

    def add(self, window):
        added.append(window)
        if len(added) == 2:
            multiprocessing.active_children()[0].kill()
        return plain(self, window)

    monkeypatch.setattr(CheckpointStore, "add", add)
    code, files, said = predict("two", *windows_of(16), fasta=REAL)
    assert code == 0, said
    assert "was killed by SIGKILL" in said
    assert files == whole


@pytest.mark.parametrize("files", [2, 5])  # the manifest lists all but perhaps the last
def test_kill_and_resume_give_the_same_bytes(predict, wide, tmp_path, files):
    _, whole, _ = predict("whole", *SLOW, fasta=REAL)
    out = tmp_path / "killed"
    options = ("--esm-model", ESM_8M, "--output-dir", out, "--gpus", "0", *SLOW)
    on_gpu = environment(wide) | {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    process = subprocess.Popen(command("predict", REAL, *options), env=on_gpu, stderr=subprocess.PIPE)
    wait_for(lambda: len(list(out.glob("*_windows/*.safetensors"))) >= files or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate()
    assert not results(out)
    code, resumed, said = predict("killed", *SLOW, "--resume", fasta=REAL)
    assert code == 0, said
    assert "Resuming: " in said
    assert resumed == whole


COLD = """
import sys

import triton

missed = []


def told(*, src, metadata, cache_hit, **more):
    probe = metadata["name"] == "_add_norm" and 32 in src.constants.values()  # it is not waited for
    if not cache_hit and not probe:
        missed.append((metadata["name"], src.signature, src.constants, src.attrs))


triton.knobs.compilation.listener = told
from virnucpro.cli import main

try:
    main(sys.argv[1:])
finally:
    print("missed:", missed)
"""


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("kind", ["protein", "nucleotide"])
def test_a_cold_start_finds_all_that_was_compiled_ahead(wide, tmp_path, precision, kind):
    """By the published models' shapes, which these have but for their layers."""
    proteins = enumerate(random_proteins([20, 100, 200, 300], seed=1))
    fasta = tmp_path / "in.fa"
    fasta.write_text(workloads.fasta(proteins if kind == "protein" else workloads.reads(20)))
    arguments = ["predict", fasta, "--output-dir", tmp_path / "out", "--weights-dir", wide, "--esm-model", ESM_8M]
    arguments += ["--precision", precision]
    if attention.choose("auto", CUDA, PRECISIONS[precision], [16, 64]) != "triton":
        pytest.skip("Triton cannot compile here")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", COLD, *map(str, arguments)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "missed: []", done.stdout
