"""Foreign formats: files that users give by mistake are called by their names, with the next step."""

import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hostile import bgzip

from virnucpro.errors import BadInput
from virnucpro.reading.reads import read_records

FASTA = b">a\nACGT\n"


def tar():
    with io.BytesIO() as packed:
        with tarfile.open(fileobj=packed, mode="w") as file:
            entry = tarfile.TarInfo("a.fa")
            entry.size = len(FASTA)
            file.addfile(entry, io.BytesIO(FASTA))
        return packed.getvalue()


def zipped(name):
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr(zipfile.ZipInfo(name), FASTA)
        return packed.getvalue()


FILES = {
    "UTF-16": (FASTA.decode().encode("utf-16"), "text in UTF-16. Convert it: iconv -f UTF-16"),
    "UTF-16 without a mark": (FASTA.decode().encode("utf-16-le"), "text in UTF-16"),
    "UTF-32": (FASTA.decode().encode("utf-32"), "text in UTF-32"),
    "twice": (gzip.compress(gzip.compress(FASTA, mtime=0), mtime=0), "compressed twice"),
    "xz in gzip": (gzip.compress(lzma.compress(FASTA), mtime=0), "compressed twice"),
    "BAM": (bgzip(b"BAM\x01\0\0\0\0", b""), "BAM. Make FASTQ of it: samtools fastq"),
    "CRAM": (b"CRAM\x03\0", "CRAM. Make FASTQ"),
    "SAM": (b"@HD\tVN:1.6\n@SQ\tSN:a\tLN:4\nr\t0\ta\t1\t9\t4M\t*\t0\t0\tACGT\tIIII\n", "SAM. Make FASTQ"),
    "VCF": (b"##fileformat=VCFv4.2\n", "variants without sequences"),
    "GFF": (b"##gff-version 3\na\t.\tgene\t1\t3\t.\t+\t.\tID=1\n##FASTA\n>a\nACGT\n", "GFF"),
    "PIR": (b">P1;CRAB\nALPHA CRYSTALLIN - duck\nMDITIHNPLI*\n", "PIR, whose second lines are titles. Make FASTA"),
    "GenBank": (b"LOCUS       AB1  4 bp DNA\nORIGIN\n        1 acgt\n//\n", "a GenBank flat file. Make FASTA of it"),
    "EMBL": (b"ID   AB1; SV 1; linear; DNA\n", "an EMBL or UniProt flat file"),
    "NEXUS": (b"#NEXUS\nbegin data;\n", "NEXUS"),
    "Stockholm": (b"# STOCKHOLM 1.0\na ACGT\n//\n", "Stockholm"),
    "CLUSTAL": (b"CLUSTAL W (1.83)\n\na ACGT\n", "an alignment"),
    "a page": (b"\n<!DOCTYPE html>\n<html>404</html>", "a server's page on an error"),
    "XML": (b'<?xml version="1.0"?>', "XML"),
    "JSON": (b'{"error": "none"}', "JSON"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS. Fetch the file itself: git lfs pull"),
    "PDF": (b"%PDF-1.7\n", "PDF. Save it as plain text"),
    "a spreadsheet": (zipped("[Content_Types].xml"), "a document of an office program"),
    "zip": (zipped("a.fa"), "a zip archive. Unpack it"),
    "tar": (tar(), "a tar archive. Unpack it"),
    "tar.gz": (gzip.compress(tar(), mtime=0), "a tar archive. Unpack it"),
    "tar.xz": (lzma.compress(tar()), "a tar archive. Unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
    "RAR": (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    "compress": (b"\x1f\x9d\x90\x3e", "compressed by compress (.Z). Decompress it: gzip -d"),
    "LZ4": (b"\x04\x22\x4d\x18\x64", "compressed by LZ4"),
    "SRA": (b"NCBI.sra\x05", "an SRA archive. Make FASTQ of it: fasterq-dump"),
    "FAST5": (b"\x89HDF\r\n\x1a\n", "raw signals"),
    "2bit": (b"\x43\x27\x41\x1a\0", "2bit. Make FASTA of it: twoBitToFa"),
}


@pytest.mark.parametrize("name", FILES)
def test_is_called_by_its_name(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / "in.fa").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        list(read_records(str(tmp_path / "in.fa"), "in.fa"))
    assert str(caught.value).startswith("in.fa: is no FASTA or FASTQ but ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"# NEXUS is another\n>a\nACGT\n",
        b"@HD VN:1\nACGT\n+\nIIII\n",
        b">BAM\x02\nACGT\n",
        b">ID   a\nACGT\n",
        b">N1;size=7\nACGT\n",
        b">P1;a;size=7;\nACGT\n",
        b">" + b"a" * 256 + b"ustar\nACGT\n",  # where tar has that word
    ],
)
def test_fasta_is_not_taken_for_another(tmp_path, content):
    (tmp_path / "in.fa").write_bytes(content.replace(b"\x02", b""))
    (read,) = read_records(str(tmp_path / "in.fa"))
    assert read.sequence == "ACGT"
