"""What docs/architecture.md says can be added in so many files, added from outside: a language model, a result file, a
benchmark. Attention backends and precisions are in test_rows.py, an executor in test_retry_policy.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ESM_8M, ROOT

from benchmarks import synthetic_weights
from virnucpro.config.settings import Settings
from virnucpro.models import language_models, tokens
from virnucpro.models.classifier_card import ClassifierCard, metadata_of
from virnucpro.models.language_models import LanguageModel, Shape
from virnucpro.pipeline import run as pipeline
from virnucpro.reading.chunks import Chunk
from virnucpro.reading.frames import open_frames
from virnucpro.reading.input_kind import InputKind
from virnucpro.system.files import sha256_of

LETTERS = "ACGT"
READS = {"a": "ATGGCCAAAGTTCTGGAC", "b": "ATGTGGTGGTGG"}


class Composition(torch.nn.Module):
    """A language model that tells A, C, G and T apart and nothing else."""

    shape = Shape(1, len(LETTERS), 0)

    def forward(self, pack, attend, ops):
        return torch.nn.functional.one_hot(pack.token_ids_T.long(), len(LETTERS))


def composition_means(x_TD, pack):
    return torch.segment_reduce(x_TD.float(), "mean", offsets=pack.cu_seqlens_S1.long(), axis=0)


def composition_tokeniser(path):
    def tokenise(dna):
        ids = [[LETTERS.index(letter) for letter in sequence] for sequence in dna]
        return tokens.Tokens(np.array(list(map(len, ids))), lambda order_S: np.concatenate([ids[i] for i in order_S]))

    return tokenise


@pytest.fixture
def composition(monkeypatch):
    """A row, and the module that it names."""
    code = types.ModuleType("virnucpro.models.composition")
    code.size = code.check = lambda path, esm_model: Composition.shape
    code.load = lambda path, device, precision: Composition()
    code.prepare = lambda model, precision: None
    code.means = composition_means
    code.sample = lambda esm_model, layers: (Composition(), {}, len(LETTERS))
    row = LanguageModel(
        "Composition", "composition", "composition_S4", "composition", "dna", (InputKind.NUCLEOTIDE,), False,
        lambda _: Composition.shape, lambda _: 0, name="Composition",
        described="{place}/ with config.json and model.safetensors",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, code.__name__, code)
    monkeypatch.setitem(language_models.LANGUAGE_MODELS, "composition", row)
    monkeypatch.setitem(tokens.TOKENISERS, "composition", composition_tokeniser)
    monkeypatch.setattr(language_models, "QUEUE_ORDER", (*language_models.QUEUE_ORDER, "composition"))
    order = ("composition", *language_models.FEATURE_ORDER)
    for module in ("engine.model_runner", "models.language_models"):
        monkeypatch.setattr(f"virnucpro.{module}.FEATURE_ORDER", order)


@pytest.fixture
def settings(weights, tmp_path):
    """Of a run over READS."""
    fasta = tmp_path / "reads.fa"
    fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in READS.items()))
    return {
        "inputs": (str(fasta),), "output_dir": tmp_path / "out", "weights_dir": weights, "esm_model": ESM_8M,
        "show_progress": False,
    }  # fmt: skip


def test_a_language_model(composition, weights, settings, tmp_path):
    own = shutil.copytree(weights, tmp_path / "weights")
    widths = {"composition": len(LETTERS), "dnabert_s": 24, "esm2": 320}
    (own / "Composition").mkdir()
    (own / "Composition" / "config.json").write_text("{}")
    (own / "Composition" / "model.safetensors").write_bytes(b"")
    files = ("Composition/model.safetensors", "DNABERT-S/pytorch_model.bin", f"{ESM_8M}.pt")
    sha256 = dict(zip(widths, (sha256_of(own / file) for file in files), strict=True))
    card = ClassifierCard(tuple(widths), 500, ESM_8M, widths, sha256)
    state = synthetic_weights.classifier(sum(widths.values()), 0).state_dict()
    safetensors.torch.save_file(state, own / "500_model.safetensors", metadata_of(card, {}))
    summary = pipeline.run(Settings(**settings | {"weights_dir": own}, save_embeddings=True))
    frames = {}
    for name, sequence in READS.items():
        frames |= {frame.name: frame.nucleotides for frame in open_frames(Chunk(f"{name}_chunk_1", sequence))}
    with h5py.File(summary.embeddings) as file:
        rows = dict(zip(file["ids"].asstr(), file["composition"][:], strict=True))
        assert file["embeddings"].shape == (len(frames), 320)
    assert rows.keys() == frames.keys() and len(frames) >= 6
    for name, dna in frames.items():
        np.testing.assert_allclose(rows[name], [dna.count(letter) / len(dna) for letter in LETTERS], atol=1e-6)
    manifest = json.loads((summary.results.parent / "reads_run.json").read_text())
    assert "Composition/model.safetensors" in manifest["weights"]


def test_a_result_file(settings, monkeypatch):
    def write_lengths(run):
        lengths = {name: int(length) for window in run.store.finished()
                   for name, length in zip(window.names, window.lengths_R, strict=True)}  # fmt: skip
        (run.directory.results / "lengths.json").write_text(json.dumps(lengths))

    monkeypatch.setattr(pipeline, "WRITERS", (*pipeline.WRITERS, write_lengths))
    summary = pipeline.run(Settings(**settings))
    assert json.loads((summary.results / "lengths.json").read_text()) == {"a": 18, "b": 12}


BENCHMARK = '''
"""Toy: a benchmark."""

from benchmarks.measured import Measured


class Toy(Measured):
    """A figure."""

    figures = {"seconds": "seconds"}
    params = ["gpu-10k", "cpu-small"]

    def measure(self, workload):
        return {"seconds": 1.5}
'''


def test_a_benchmark(tmp_path):
    pytest.importorskip("asv_runner.discovery", reason="asv is not installed: pip install '.[bench]'")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "benchmarks" / "toy.py").write_text(BENCHMARK)
    code = "from asv_runner.discovery import disc_benchmarks\n"
    code += "print({each.name: each.unit for each in disc_benchmarks('benchmarks')})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "'toy.Toy.track_seconds': 'seconds'" in done.stdout
    assert "'commands.EmbedProteins.track_wall_seconds': 'seconds'" in done.stdout


def test_the_table_names_files_that_are_there():
    """Each of a row's paths, but those that are its own."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("| to add | touch |") : text.index("| to | look at |")]
    paths = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md))`", table)
    assert len(paths) >= 15
    missing = [path for path in paths if not any((Path(ROOT, top) / path).is_file() for top in ("virnucpro", "."))]
    assert missing == []
