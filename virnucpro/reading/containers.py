"""Containers: compressed files, and files that say of themselves that they are cut off."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from xopen import xopen

from virnucpro.errors import BadInput, BadRequest

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError  # what xopen decompresses with there

STDIN = "-"
# By what a file begins with, not by its name: browsers and servers decompress and leave the name as it was.
_COMPRESSIONS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_Decompressor = Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
_DECOMPRESSORS: dict[str, _Decompressor] = {"bz2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}
_OTHER_BYTES = "after the compressed data come other bytes"
_AT_ONCE = 2**17  # bytes
_BLOCK = struct.Struct("<4s6xH2sHH")  # the header of a block of bgzip; its last number is the block's size less one
_LAST_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@contextmanager
def readable(path: str, shown: str) -> Iterator[io.BufferedReader]:
    """Open a file, or standard input for ``-``, for reading bytes, uncompressed.

    Raises:
        BadRequest: It is not there. BadInput: It turns out to be damaged or cut off while it is read.
    """
    if path == STDIN and sys.stdin is None:
        raise BadRequest("Standard input is closed. Pipe the sequences in, or give a file.")
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as file:
            yield _decompressed(file if hasattr(file, "peek") else io.BufferedReader(file))  # type: ignore[arg-type]
    except (EOFError, zlib.error, lzma.LZMAError, ZstdError, gzip.BadGzipFile) as error:
        if str(error).startswith("Not a gzipped file"):  # the first bytes were, so this is what follows them
            error = gzip.BadGzipFile(_OTHER_BYTES)
        raise BadInput(
            f"{shown}: the compressed file is damaged or cut off ({error}). Fetch or compress it again."
        ) from error
    except IsADirectoryError as error:
        raise BadRequest(f"{shown}: is a directory. Give a FASTA or FASTQ file.") from error
    except FileNotFoundError as error:
        raise BadRequest(f"{shown}: no such file. Check the path.") from error
    except OSError as error:
        raise BadInput(f"{shown}: cannot be read ({error}). Check the file.") from error


def _decompressed(file: io.BufferedReader) -> io.BufferedReader:
    head = file.peek(6)
    compression = next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)
    if compression is None:
        return file
    if compression in _DECOMPRESSORS:
        return io.BufferedReader(_Streams(file, _DECOMPRESSORS[compression]), _AT_ONCE)
    # threads=0: decompress here, not in a program that may be missing and reports errors its own way
    content = xopen(file, "rb", threads=0, format=compression)
    return content if hasattr(content, "peek") else io.BufferedReader(content)  # type: ignore[return-value, arg-type]


class _Streams(io.RawIOBase):
    """Streams of bzip2 or xz, one after the other, with zeros between them or none.

    Python's own readers take what follows a stream for no part of the file, be it damaged or only padded.
    """

    def __init__(self, file: io.BufferedReader, new: _Decompressor) -> None:
        self._file, self._new, self._stream = file, new, new()
        self._given = b""  # to the stream, but not yet taken

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # all that BufferedReader gives
        another = False
        while True:
            if self._stream.eof:
                self._given = self._stream.unused_data.lstrip(b"\0")
                while not self._given:
                    if not (more := self._file.read(_AT_ONCE)):
                        return 0
                    self._given = more.lstrip(b"\0")
                self._stream = self._new()
                another = True
            elif self._stream.needs_input and not self._given:
                self._given = self._file.read(_AT_ONCE)
                if not self._given:
                    raise EOFError("it ends before its end-of-stream marker")
            try:
                content = self._stream.decompress(self._given, len(buffer))
            except (OSError, lzma.LZMAError) as error:
                raise lzma.LZMAError(_OTHER_BYTES if another else str(error)) from error
            self._given, another = b"", False
            if content:
                buffer[: len(content)] = content
                return len(content)


def lacks_last_block(path: str) -> bool:
    """Whether a file is of bgzip's blocks to its end, and the empty one that must be the last is missing.

    So is the file that was cut between two blocks. Illumina's bcl2fastq leaves the block out of whole FASTQ files.
    """
    if not os.path.isfile(path):  # a stream cannot be looked at again
        return False
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_LAST_BLOCK)))
        if file.read() == _LAST_BLOCK:
            return False
        place = 0
        while place < size:
            file.seek(place)
            header = file.read(_BLOCK.size)
            if len(header) < _BLOCK.size:
                return False
            magic, extra, name, length, block = _BLOCK.unpack(header)
            if (magic, extra, name, length) != (b"\x1f\x8b\x08\x04", 6, b"BC", 2):
                return False
            place += block + 1
        return size > 0
