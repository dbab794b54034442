"""Parts: how the input is split, and shared out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.parts import Part, assign, part_count, part_sizes, read_part, split
from virnucpro.rundir import RunDirectory


@pytest.mark.parametrize(
    "sequences, workers, parallel, count",
    [
        (0, 1, False, 0),
        (1, 1, False, 1),
        (10_000, 1, False, 1),
        (10_001, 1, False, 2),
        (10_000, 1, True, 2),  # two parts a worker when parallel
        (10_000, 2, True, 4),
        (3, 2, True, 3),  # no empty parts
        (100_000, 2, True, 10),  # never over 10,000 a part
        (100_000, 8, True, 16),
    ],
)
def test_part_count(sequences, workers, parallel, count):
    assert part_count(sequences, workers, parallel) == count


@given(st.integers(1, 200_000), st.integers(1, 16))
def test_sizes_are_even_and_at_most_10000(sequences, workers):
    sizes = part_sizes(sequences, part_count(sequences, workers, parallel=True))
    assert sum(sizes) == sequences
    assert max(sizes) <= 10_000
    assert max(sizes) - min(sizes) <= 1


def part(index, sequences):
    return Part(index, sequences, Path("p"), None, Path(f"{index}.pt"), "")


@pytest.mark.parametrize(
    "sizes, workers, shares",
    [
        ([5, 5, 5, 5], 2, [[0, 2], [1, 3]]),
        ([1, 9, 4, 4], 2, [[1], [0, 2, 3]]),  # 9 against 4 + 4 + 1
        ([3], 2, [[0], []]),
        ([], 2, [[], []]),
    ],
)
def test_assign(sizes, workers, shares):
    found = assign([part(index, size) for index, size in enumerate(sizes)], workers)
    assert [[part.index for part in share] for share in found] == shares


def test_only_line_feeds_end_lines(tmp_path):
    """A part is read as it was written, whatever other line ends its text may hold."""
    (tmp_path / "p.fa").write_bytes(b">a\nAC\x1cG\rT\n>b\nGG\n")
    assert read_part(tmp_path / "p.fa") == (["a", "b"], ["AC\x1cG\rT", "GG"])


def test_split_keeps_order_and_bytes(tmp_path):
    run = RunDirectory(tmp_path, "x", 500)
    run.protein_fasta.write_text(">a\nM\n>b\nMK\n>c\nMKV\n")
    run.nucleotide_fasta.write_text(">a\nATG\n>b\nATGAAA\n>c\nATGAAAGTT\n")
    parts = split(run, 3, 2, with_nucleotides=True, request="r")
    assert [part.protein_file.relative_to(tmp_path).as_posix() for part in parts] == [
        "x_protein/x_00000.faa",
        "x_protein/x_00001.faa",
    ]
    assert [part.feature_file.relative_to(tmp_path).as_posix() for part in parts] == [
        "x_features/x_00000.pt",
        "x_features/x_00001.pt",
    ]
    assert [read_part(part.protein_file) for part in parts] == [(["a", "b"], ["M", "MK"]), (["c"], ["MKV"])]
    assert [read_part(part.nucleotide_file) for part in parts] == [
        (["a", "b"], ["ATG", "ATGAAA"]),
        (["c"], ["ATGAAAGTT"]),
    ]
    again = split(run, 3, 2, with_nucleotides=True, request="r")
    assert [part.digest for part in again] == [part.digest for part in parts]
    assert parts[0].digest != parts[1].digest
    other = split(run, 3, 2, with_nucleotides=True, request="other weights")
    assert other[0].digest != parts[0].digest
