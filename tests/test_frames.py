"""Frames: translation against Biopython, and the published tool's oddities as literals."""

import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.reading.chunks import Chunk, chunk_spans
from virnucpro.reading.frames import (
    CODONS,
    FRAME_SUFFIXES,
    Translation,
    open_frames,
    reverse_complement,
)


def translate(strand, offset):
    """Residues and stops of upper-case DNA."""
    return Translation(strand)._forward[offset].replace(b"\0", b"").decode()


def frames(sequence):
    return [(frame.name, frame.residues, frame.nucleotides) for frame in open_frames(Chunk("c", sequence))]


@pytest.mark.parametrize(
    "sequence, expected",
    [
        # ATGGCC: three forward frames; reverse complement GGCCAT
        (
            "ATGGCC",
            [
                ("cF1", "MA", "ATGGCC"),  # no base more is there
                ("cF2", "W", "TGGC"),  # one base more than 3 a residue
                ("cF3", "G", "GGCC"),
                ("cR1", "GH", "GGCCAT"),
                ("cR2", "A", "GCCA"),
                ("cR3", "P", "CCAT"),
            ],
        ),
        ("atg", [("cF1", "M", "ATG"), ("cR1", "H", "CAT")]),  # case is folded
        ("TAA", [("cR1", "L", "TTA")]),  # a stop closes the frame
        ("AC", []),  # no codon
        ("ACN", []),  # no codon without other letters
        ("GCNATG", [("cF1", "M", "GCNA"), ("cR1", "H", "CATN")]),  # GCN is alanine whatever N is: dropped
        # the DNA starts at the frame's offset even where the first codons were dropped
        ("GCNATGG", [("cF1", "M", "GCNA"), ("cF2", "W", "CNAT"), ("cR1", "P", "CCAT"), ("cR2", "H", "CATN")]),
        ("", []),
    ],
)
def test_open_frames(sequence, expected):
    assert frames(sequence) == expected


DNA = st.text("ACGT", max_size=600)
IUPAC = st.text("ACGTNRYKMSWBDHV-", max_size=300)


@given(IUPAC)
def test_reverse_complement_is_an_involution(strand):
    assert reverse_complement(reverse_complement(strand)) == strand


@given(DNA, st.integers(0, 2))
def test_translation_agrees_with_biopython(strand, offset):
    coding = strand[offset:]
    assert translate(strand, offset) == str(Seq(coding[: len(coding) // 3 * 3]).translate())


@given(IUPAC, st.integers(0, 2))
def test_other_letters_drop_their_codons(strand, offset):
    codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
    plain = "".join(codon for codon in codons if set(codon) <= set("ACGT"))
    assert translate(strand, offset) == str(Seq(plain).translate())


@given(DNA)
def test_reverse_frames_agree_with_biopython(sequence):
    reverse = str(Seq(sequence).reverse_complement())
    expected = []
    for letter, strand in (("F", sequence), ("R", reverse)):
        for k in range(3):
            protein = str(Seq(strand[k : k + (len(strand) - k) // 3 * 3]).translate())
            if protein and "*" not in protein:
                expected.append((f"c{letter}{k + 1}", protein, strand[k : k + 3 * len(protein) + 1]))
    assert frames(sequence) == expected


def test_the_code_has_64_codons_and_three_stops():
    assert len(CODONS) == 64
    assert sorted(codon for codon, residue in CODONS.items() if residue == "*") == ["TAA", "TAG", "TGA"]


@pytest.mark.parametrize(
    "start, end, expected",
    [
        # ATGGCCTAA: the stop counts only where the chunk holds it whole
        (0, 9, [("F2", "WP", "TGGCCTA"), ("F3", "GL", "GGCCTAA"), ("R1", "LGH", "TTAGGCCAT"), ("R3", "RP", "AGGCCAT")]),
        (0, 8, [("F1", "MA", "ATGGCCT"), ("F2", "WP", "TGGCCTA"), ("F3", "GL", "GGCCTA"),
                ("R2", "RP", "AGGCCAT"), ("R3", "GH", "GGCCAT")]),
        (3, 9, [("F2", "P", "CCTA"), ("F3", "L", "CTAA"), ("R1", "LG", "TTAGGC"), ("R3", "R", "AGGC")]),
        (4, 7, [("F1", "P", "CCT"), ("R1", "R", "AGG")]),
        (4, 6, []),
        (0, 1, []),  # nor may a negative number of codons count from the end of the text
        (9, 9, []),
    ],
)  # fmt: skip
def test_chunks_of_one_translation(start, end, expected):
    found = Translation("atgGCCTAA").open_frames(start, end)
    assert [(FRAME_SUFFIXES[index], residues.decode(), dna) for index, residues, dna in found] == expected


def frames_codon_by_codon(sequence):
    """The definition, as version 1.0 computed it."""
    forward = sequence.upper()
    found = []
    for strand, names in ((forward, ("F1", "F2", "F3")), (reverse_complement(forward), ("R1", "R2", "R3"))):
        for offset, name in enumerate(names):
            codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
            residues = "".join(CODONS.get(codon, "") for codon in codons)
            if residues and "*" not in residues:
                found.append((name, residues, strand[offset : offset + 3 * len(residues) + 1]))
    return found


# mostly plain letters, or hardly a codon would be translated
ANY_DNA = st.text(st.sampled_from("ACGT" * 6 + "acgt" * 2 + "NnRYKMSWBDHVryU-."), max_size=40)


@given(ANY_DNA, st.integers(1, 45))
def test_every_chunk_has_the_frames_of_the_definition(sequence, chunk_size):
    translation = Translation(sequence)
    for start, end in chunk_spans(len(sequence), chunk_size):
        found = translation.open_frames(start, end)
        named = [(FRAME_SUFFIXES[index], residues.decode("ascii"), dna) for index, residues, dna in found]
        assert named == frames_codon_by_codon(sequence[start:end])
