"""Debian package: its files, read without root and without dpkg."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfileobj
from typing import IO

from virnucpro.errors import BadInput
from virnucpro.system import files


def extract(package: Path, sha256: str, member: str, path: Path) -> None:
    """Write a package's file to `path`.

    Args:
        member: Its path from the root on, without a slash before it.
    Raises:
        BadInput: The package has another checksum, is none, or lacks the file.
    """
    check_sha256(package, sha256)
    for name, content in contents(package):
        if name == member:
            with files.whole_file(path, "wb") as file:
                copyfileobj(content, file, 2**20)
            return
    raise BadInput(f"{package} holds no {member}. Take the version of the package that has it.")


def check_sha256(archive: Path, sha256: str) -> None:
    """
    Raises:
        BadInput: It has another.
    """
    if (actual := files.sha256_of(archive)) != sha256:
        raise BadInput(f"{archive} has the sha256 {actual}, and {sha256} was expected. Fetch it again.")


def contents(package: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield a package's files: paths as `extract` takes them, and what is to be read before the next is asked for.

    Raises:
        BadInput: It is no package.
    """
    with open(package, "rb") as archive:
        _seek_data(archive)
        with tarfile.open(fileobj=archive, mode="r|xz") as data:
            for each in data:
                if each.isfile() and (content := data.extractfile(each)):
                    yield each.name.removeprefix("./"), content


def _seek_data(archive: IO[bytes]) -> None:
    """Leave an `ar` archive at the first byte of its data.tar.xz: a header of 60 bytes is before each member, and
    members begin at even bytes."""
    if archive.read(8) == b"!<arch>\n":
        while len(header := archive.read(60)) == 60:
            if header.startswith(b"data.tar.xz"):
                return
            size = int(header[48:58])
            archive.seek(size + size % 2, 1)
    raise BadInput(f"{archive.name} is no Debian package with a data.tar.xz. Fetch it again.")
