"""Archives: sequences in packages of PyPI and Debian, whatever format their test data have. No code of them is run."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support import debian

_NO_BASE = re.compile(rb"[^A-Za-z]")


def members(path: Path, sha256: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive (.whl, .tar.gz, .deb); ``a!b`` is the file b of the zip a in it.

    Raises:
        BadInput: The archive has another checksum.
    """
    debian.check_sha256(path, sha256)
    inner: dict[str, list[str]] = {}
    for name in wanted:
        outer, _, within = name.partition("!")
        inner.setdefault(outer, []).append(within)
    for name, content in _files(path, set(inner)):
        for within in inner[name]:
            if within:
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    yield f"{name}!{within}", archive.read(within)
            else:
                yield name, gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _files(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if name in wanted)
    elif path.suffix == ".deb":
        yield from ((name, content.read()) for name, content in debian.contents(path) if name in wanted)
    else:
        with tarfile.open(path, "r|*") as archive:
            for each in archive:
                if each.isfile() and each.name in wanted and (content := archive.extractfile(each)):
                    yield each.name, content.read()


def sequences(content: bytes) -> Iterator[str]:
    """Yield all sequences of a file, upper case, U as T: FASTA, GFF3 with its FASTA, GenBank or EMBL.

    >>> [*sequences(b"LOCUS x\\nORIGIN\\n  1 acgt ac\\n//\\n")], [*sequences(b"ID x\\nSQ 4 BP\\n  acgu 4\\n//\\n")]
    (['ACGTAC'], ['ACGT'])
    """
    _, fasta, rest = content.partition(b"##FASTA")
    begin = (rest if fasta else content).lstrip()
    if begin.startswith(b">"):
        for record in (b"\n" + begin).split(b"\n>")[1:]:
            yield _letters(record.partition(b"\n")[2])
        return
    mark = b"\nORIGIN" if content.startswith(b"LOCUS") else b"\nSQ "
    for record in content.split(b"\n//"):
        _, found, rest = record.partition(mark)
        if found:
            yield _letters(rest.partition(b"\n")[2])


def _letters(text: bytes) -> str:
    return _NO_BASE.sub(b"", text).upper().replace(b"U", b"T").decode("ascii")
