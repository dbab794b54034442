"""Foreign formats: files of other formats that users have, told by their first bytes, and how to make FASTA of them."""

from __future__ import annotations

import re

FIRST_BYTES = 512  # that `foreign_format` needs
_TEXT = "Save it as plain text"
_BAM = "Make FASTQ of it: samtools fastq FILE"
_FETCH = "Fetch the sequences themselves"
_SEQRET = "Make FASTA of it, for example with seqret of EMBOSS or Biopython's SeqIO.convert"
_UNPACK = "Unpack it, and give the file inside"
_TWICE = "Decompress it once"
# First bytes, as a regular expression; what such a file is; what to do.
_FORMATS = (
    (rb"\xff\xfe\0\0|\0\0\xfe\xff|[>@]\0\0\0|\0\0\0[>@]", "text in UTF-32", "Convert it: iconv -f UTF-32 -t UTF-8"),
    (rb"\xff\xfe|\xfe\xff|[>@]\0|\0[>@]", "text in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8"),
    (rb"\x1f\x8b|BZh\d1AY|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "compressed twice", _TWICE),
    (rb"BAM\x01", "BAM", _BAM),
    (rb"CRAM[\x01-\x09]", "CRAM", _BAM),
    (rb"@(HD\tVN:|SQ\tSN:|RG\tID:|PG\tID:|CO\t)", "SAM", _BAM),
    (rb"BCF[\x01-\x09]|##fileformat=VCF", "VCF or BCF, variants without sequences", _FETCH),
    (rb"##gff-version|##gtf|#!genome-build", "GFF or GTF, places in sequences", _FETCH),
    (rb">(P1|F1|D[LC]|R[LC]|N[13]|XX);[^;=\s]+\s*\n", "PIR, whose second lines are titles", _SEQRET),
    (rb"LOCUS {3,}", "a GenBank flat file", _SEQRET),
    (rb"ID {3}\S", "an EMBL or UniProt flat file", _SEQRET),
    (rb"#NEXUS", "NEXUS", _SEQRET),
    (rb"# STOCKHOLM", "Stockholm", _SEQRET),
    (rb"CLUSTAL|MUSCLE \(|!!(NA|AA)_|PileUp", "an alignment of CLUSTAL or GCG", _SEQRET),
    (rb"HEADER {4}|data_", "a structure (PDB)", _FETCH),
    (rb"\s*<(!DOCTYPE|!--|html|head|body|\?xml|Error)", "HTML or XML, often a server's page on an error", _FETCH),
    (rb"\s*[{\[]\s*[\"{\[]", "JSON", _FETCH),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
    (rb"%PDF", "PDF", _TEXT),
    (rb"\{\\rtf|\xd0\xcf\x11\xe0", "a document of a word processor or spreadsheet", _TEXT),
    (rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|word/|xl/|mimetype)", "a document of an office program", _TEXT),
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive", _UNPACK),
    (rb"(?![>@]).{257}ustar", "a tar archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb"\x1f[\x9d\xa0]", "compressed by compress (.Z)", "Decompress it: gzip -d"),
    (rb"\x04\x22\x4d\x18", "compressed by LZ4", "Decompress it: lz4 -d"),
    (rb"LZIP", "compressed by lzip", "Decompress it: lzip -d"),
    (rb"\x89LZO", "compressed by lzop", "Decompress it: lzop -d"),
    (rb"[\x50-\x5f]\x2a\x4d\x18", "compressed by pzstd", "Decompress it: zstd -d"),
    (rb"NCBI\.sra", "an SRA archive", "Make FASTQ of it: fasterq-dump FILE"),
    (rb"\x89HDF|\x8bPOD", "raw signals (FAST5, POD5) or HDF5", "Give the bases that were called"),
    (rb"ABIF|\.scf|\.sff", "a sequencer's traces", _SEQRET),
    (rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43", "2bit", "Make FASTA of it: twoBitToFa"),
    (rb"\t\0\0\0\x14SnapGene", "SnapGene", "Export FASTA"),
)  # fmt: skip


def foreign_format(head: bytes) -> tuple[str, str] | None:
    """Tell what a file that is no FASTA or FASTQ is by its first bytes, and what to do; None if that is not known."""
    matches = ((name, advice) for first, name, advice in _FORMATS if re.match(first, head, re.DOTALL))
    return next(matches, None)
