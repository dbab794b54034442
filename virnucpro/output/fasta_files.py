"""FASTA files: the chunks, frames and proteins of a run as FASTA, for those who ask for them.

Nothing in a run reads these files. They are written while the reads pass on to the models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from virnucpro.reading.chunks import chunks
from virnucpro.reading.frames import open_frames
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES, clean
from virnucpro.reading.reads import Read
from virnucpro.system.files import whole_file

LINE_WIDTH = 60  # of the chunk file; frames and proteins have a line each


def tee_fasta(
    reads: Iterable[Read],
    chunk_fasta: Path,
    nucleotide_fasta: Path,
    protein_fasta: Path,
    kind: InputKind,
    chunk_size: int,
) -> Iterator[Read]:
    """Pass reads on and write their FASTA files meanwhile.

    The files take their names when the last read has passed. If the reads end in an error, or whoever
    takes them stops before the end, there are no files.

    Args:
        reads: With unique ids.
        chunk_fasta: For chunks, case as in the input; not written for proteins.
        nucleotide_fasta: For the DNA of open frames; not written for proteins.
        protein_fasta: For the residues of open frames, or the proteins themselves as ESM-2 sees them.
        chunk_size: bp.
    """
    if kind == InputKind.PROTEIN:
        with whole_file(protein_fasta, durable=False) as protein_file:
            for read in reads:
                residues, _ = clean(read.sequence)
                if residues:
                    protein_file.write(f">{read.name}\n{residues[:MAX_RESIDUES]}\n")
                yield read
        return
    with (
        whole_file(chunk_fasta, durable=False) as chunk_file,
        whole_file(nucleotide_fasta, durable=False) as nucleotide_file,
        whole_file(protein_fasta, durable=False) as protein_file,
    ):
        for read in reads:
            for chunk in chunks(read, chunk_size):
                chunk_file.write(f">{chunk.name}\n{wrapped(chunk.sequence)}")
                for frame in open_frames(chunk):
                    nucleotide_file.write(f">{frame.name}\n{frame.nucleotides}\n")
                    protein_file.write(f">{frame.name}\n{frame.residues}\n")
            yield read


def wrapped(sequence: str) -> str:
    """A sequence in lines of 60 letters; nothing for an empty one."""
    return "".join(f"{sequence[i : i + LINE_WIDTH]}\n" for i in range(0, len(sequence), LINE_WIDTH))
