"""Hostile input: what may be made of it, for the tests and for the fuzzer."""

import bz2
import gzip
import io
import lzma
import re
import struct
import zlib
from pathlib import Path

from xopen import xopen

from virnucpro.errors import BadInput, BadRequest
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.survey import Survey

SEEDS = (
    b"", b"\n", b">", b">a", b">a\nACGT", b">a\nACGT\n>b\n", b">a b c\r\nAC GT\r\n\r\n>b\r\nacgtn\r\n",
    b"@a\nACGT\n+\nIIII\n@b\nGG\n+b\nII\n", b"@a\n\n+\n\n", b"@a\nACGT\n+\nIII\n", b"# note\n>a\nAC\n",
    b"\xef\xbb\xbf>a\nACGT\n", b">p\nMKVLAAGIVGLCAKAYEQ*\n", b">a\nACGU\n", b">a\nAC\n>a\nGT\n>a_1\nAC\n",
    b">gi|1|x/2,'\"\tmore\nAC\n", b">\xc3\xa9\nACGT\n", b">a\n\xff\xfe\n", b">a\nAC\x00GT\x0b\n",
    b">NA\nAC\n>123\nGT\n",
    b"".join(b">r%d\nATGGCCAAAGTTCTGGAC\n" % number for number in range(40)),
    b"".join(b"@q%d\nATGG\n+\nIIII\n" % number for number in range(40)),
)  # fmt: skip


def zstandard(content: bytes) -> bytes:
    with io.BytesIO() as packed:
        with xopen(packed, "wb", format="zst", threads=0) as file:
            file.write(content)
        return packed.getvalue()


def bgzip(*blocks: bytes) -> bytes:
    """Blocks as bgzip writes them; a whole file ends with an empty one."""
    packed = b""
    for block in blocks:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        content = deflate.compress(block) + deflate.flush()
        packed += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(content) + 25)
        packed += content + struct.pack("<II", zlib.crc32(block), len(block))
    return packed


CODECS = (bytes, gzip.compress, bz2.compress, lzma.compress, zstandard)


def outcome(path: Path, input_type: str = "auto", rename: bool = False) -> Survey | str:
    """Read a file as a run does, twice; what it holds, or the message that refuses it.

    Anything else, an error of Python's own above all, is a bug and passes through.
    """
    try:
        files = InputFiles([str(path)], input_type, rename)
        found = files.survey
        reads = list(files.reads())
    except (BadInput, BadRequest) as error:
        said = str(error)
        assert said and "\n" not in said and said.isprintable(), repr(said)
        assert error.exit_code in (1, 2)
        return said
    assert len(reads) == found.records
    assert len({read.name for read in reads}) == len(reads)
    for read in reads:
        assert read.name and not read.name.isspace() and read.name.split() == [read.name]
        assert re.fullmatch(r"[A-Za-z*.~?-]*", read.sequence)
        assert found.kind == "protein" or not set("EFIJLOPQZ") & set(read.sequence.upper())
    return found
