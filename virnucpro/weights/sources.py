"""Sources: where each model's authors publish it, and the sha256 of the files that a run needs.

The digests of ESM-2 and of DNABERT-S are those that several independent projects have on record for these addresses;
the authors publish none. Where none is known it is None, and the first file that comes is put on record instead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from virnucpro.errors import BadWeights
from virnucpro.models.catalog import DNABERT_S
from virnucpro.models.locate import candidates
from virnucpro.weights.checksums import CHECKSUMS_FILE, parse_checksums

FAIR_ESM = "https://dl.fbaipublicfiles.com/fair-esm/models"
VIRNUCPRO = "https://github.com/Li-Jing-1997/VirNucPro/raw/main"
DNABERT_S_AT = "zhihan1996/DNABERT-S", "00e47f96cdea35e4b6f5df89e5419cbe47d490c6"  # repository on the hub, revision
SUFFIXES = (".pt", ".pth", ".safetensors")  # of a model that is one file; others are folders


@dataclass(frozen=True)
class File:
    """One file to fetch; size and sha256 are None if nobody is known to have recorded them."""

    path: str  # in the weights directory, with /
    url: str | None  # None for a file of the Hugging Face hub
    size: int | None = None  # bytes
    sha256: str | None = None

    def address(self) -> str:
        """Where to fetch it; HF_ENDPOINT names another host for the hub."""
        if self.url is not None:
            return self.url
        from huggingface_hub import hf_hub_url

        repository, revision = DNABERT_S_AT
        name = PurePosixPath(self.path).name
        return hf_hub_url(repository, name, revision=revision, endpoint=os.environ.get("HF_ENDPOINT") or None)


@dataclass(frozen=True)
class Model:
    """What is fetched by its name. In `files`, what makes a folder count as a model comes last."""

    name: str
    what: str
    files: tuple[File, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files, as far as known."""
        return sum(file.size or 0 for file in self.files) or None

    def owns(self, path: str) -> bool:
        """Whether a file of a weights directory is this model's, in whichever format."""
        first, *rest = PurePosixPath(path).parts
        if first not in {candidate.name for candidate in candidates(Path(), self.name)}:
            return False
        return len(rest) == (0 if first.endswith(SUFFIXES) else 1)

    def mirrored(self, mirror: str, listed: str) -> Model:
        """The same model as a mirror has it.

        Args:
            mirror: Address of a copy of a weights directory.
            listed: What its SHA256SUMS says.
        Raises:
            BadWeights: It has no such model, or has other files under the published names.
        """
        base = mirror.rstrip("/")
        source = f"{base}/{CHECKSUMS_FILE}"
        known = {file.path: file.sha256 for file in self.files if file.sha256}
        files = []
        for path, sha256 in parse_checksums(listed, source).items():
            if not self.owns(path):
                continue
            if known.get(path, sha256) != sha256:
                raise BadWeights(
                    f"{source} lists another {path} (sha256 {sha256}) than the published one ({known[path]}). "
                    "Fix the mirror (there: virnucpro weights verify), or leave --mirror out."
                )
            files.append(File(path, f"{base}/{quote(path)}", sha256=sha256))
        if not files:
            raise BadWeights(f"{source} does not list {self.name}. Fetch it into the mirrored directory first.")
        return Model(self.name, self.what, tuple(sorted(files, key=lambda file: file.path.endswith("config.json"))))


def _esm2(name: str, size: int | None, sha256: str | None) -> Model:
    return Model(name, "features of proteins", (File(f"{name}.pt", f"{FAIR_ESM}/{name}.pt", size, sha256),))


def _classifier(chunk_size: int) -> Model:
    name = f"{chunk_size}_model"
    return Model(name, f"verdicts on chunks of {chunk_size} bp", (File(f"{name}.pth", f"{VIRNUCPRO}/{name}.pth"),))


MODELS = (
    _esm2("esm2_t6_8M_UR50D", 30099493, "46f002a9870c9bdecd0ea887acb1f9a38a6b561e8f8bf8a6990b679b9d31b928"),
    _esm2("esm2_t12_35M_UR50D", 134095705, "7f21e80e61d16a71735163ef555d3009afb0c98da74c48e29df08606973cc55e"),
    _esm2("esm2_t30_150M_UR50D", 592774773, "881c7176cf198ef8dec26a3c375d40eb58d0c33df95c22562ca6cc6d3f812c62"),
    _esm2("esm2_t33_650M_UR50D", 2604537549, "ea9d0522b335a8778dea6535a65301f10208dece28cd5865482b0b1fc446168c"),
    _esm2("esm2_t36_3B_UR50D", 5678116398, "7de8b4082ba15891959ab368b77ce3886697af1efb16d3c9e9e7b0c5d3f07500"),
    _esm2("esm2_t48_15B_UR50D", None, None),
    Model(
        DNABERT_S,
        "features of DNA",
        tuple(
            File(f"{DNABERT_S}/{name}", None, size, sha256)
            for name, size, sha256 in (
                ("pytorch_model.bin", 468320053, "f3cfc3d0541859df64759e758cc4bc40fe1d5760799a7d098a9f9f09501c1e5f"),
                ("tokenizer.json", 168203, "667f5a0e6e9630f7052b004784dda7c7aeba395cc4ca3c01b11b02e6aa29d7b1"),
                ("config.json", 1025, "d54c142114563aa34ef7c2b54ccc921d08e50cd7c3cd69c439d5e0d2bbcfcdee"),
            )
        ),
    ),
    _classifier(300),
    _classifier(500),
)
BY_NAME = {model.name: model for model in MODELS}
USUAL = ("esm2_t36_3B_UR50D", DNABERT_S, "500_model", "300_model")  # what `virnucpro predict` needs
