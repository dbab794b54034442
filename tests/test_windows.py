"""Windows: small tables, and the property that nothing is lost or seen twice, whatever the buffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.reads import Read
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.windows import LEAST_BUDGET, PACKS, Piece, Window, windows

CHUNK = 10  # bp


def cut(lengths, buffer_size, kind="nucleotide", token_budget=8192):
    """The windows of reads of these lengths: for each piece the read's number, its first chunk and how many."""
    letter = "A" if kind == "nucleotide" else "M"
    reads = [Read(str(number), letter * length) for number, length in enumerate(lengths)]
    made = list(windows(reads, kind, CHUNK, buffer_size, token_budget))
    assert [window.index for window in made] == list(range(len(made)))
    assert all(window.only is None for window in made)
    return [[(int(piece.name), piece.first, len(piece.spans)) for piece in window.pieces] for window in made]


def one_each(counts):
    """Windows of so many reads of one chunk."""
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return [[(start + i, 0, 1) for i in range(count)] for start, count in zip(starts, counts)]


@pytest.mark.parametrize(
    "lengths, buffer_size, made",
    [
        ([], 8, []),
        ([7], 8, [[(0, 0, 1)]]),
        # 1/8, 1/4, 1/2 of a window, then whole ones
        ([7] * 26, 8, one_each([1, 2, 4, 8, 8, 3])),
        ([7] * 5, 4, one_each([1, 1, 2, 1])),  # never less than one
        # a long read is cut over windows: 12 chunks as 1 + 2 + 4 + 5, the next one joins the last
        ([120, 7], 8, [[(0, 0, 1)], [(0, 1, 2)], [(0, 3, 4)], [(0, 7, 5), (1, 0, 1)]]),
        # an empty record has no chunk, but takes a place
        ([0, 0, 7, 0], 16, [[(0, 0, 0), (1, 0, 0)], [(2, 0, 1), (3, 0, 0)]]),
        ([7, 0], 8, [[(0, 0, 1)], [(1, 0, 0)]]),
    ],
)
def test_windows_of_dna(lengths, buffer_size, made):
    assert cut(lengths, buffer_size) == made


def test_a_piece_of_a_long_read():
    # 25 bp in chunks of 10: [0, 10) [8, 18) [16, 25); the first window of a buffer of 16 takes two of them
    (first, second) = windows([Read("r", "ABCDEFGHIJKLMNOPQRSTUVWXY")], "nucleotide", 10, 16, 8192)
    assert first == Window(0, (Piece("r", 25, "ABCDEFGHIJKLMNOPQR", ((0, 10), (8, 18)), 0),))
    assert second == Window(1, (Piece("r", 25, "QRSTUVWXY", ((0, 9),), 2),))


@pytest.mark.parametrize(
    "lengths, buffer_size, budget, made",
    [
        ([7] * 26, 8, 1000, one_each([1, 2, 4, 8, 8, 3])),
        ([0, 7], 8, 1000, one_each([1, 1])),
        # Here a full window is 8 packs of 1,000 tokens at 99.7 %, and a protein of 98 has 100 with <cls> and <eos>.
        ([98] * 100, 1000, 1000, one_each([9, 19, 39, 33])),
        ([98] * 60, 1000, 2000, one_each([19, 39, 2])),
        ([98] * 30, 1000, 1, one_each([9, 19, 2])),  # smaller packs: more of them
        ([98] * 30, 24, 1000, one_each([3, 6, 12, 9])),  # whichever comes first
        ([5000] * 10, 1000, 10_000, one_each([9, 1])),  # 1,026 tokens each: what is cut off costs nothing
    ],
)
def test_windows_of_proteins(monkeypatch, lengths, buffer_size, budget, made):
    monkeypatch.setattr("virnucpro.reading.windows.PACKS", 8)
    monkeypatch.setattr("virnucpro.reading.windows.LEAST_BUDGET", 1000)
    assert cut(lengths, buffer_size, "protein", budget) == made


def test_a_long_protein_leaves_behind_what_nobody_reads():
    """Also a stop that is the last of the first 1,024: it is none that closes the protein."""
    (window,) = windows([Read("p", "M" * 1023 + "*" + "A" * 999_000 + "*")], "protein", 500, 8, 8192)
    assert window.pieces == (Piece("p", 1_000_024, "M" * 1023 + "*", ((0, 1024),)),)
    found = sequences_of(window, "protein")
    assert (found.proteins, found.cut, found.unknown) == ([b"M" * 1023 + b"X"], 1, 1)


def test_a_protein_is_one_piece_with_its_closing_stops_left_out():
    (window,) = windows([Read("p", "MK*A**")], "protein", 500, 8, 8192)
    assert window.pieces == (Piece("p", 4, "MK*A", ((0, 4),)),)


LENGTHS = st.lists(st.integers(0, 95), max_size=30)
BUFFERS = st.integers(1, 40)


@given(LENGTHS, BUFFERS)
def test_pieces_give_every_chunk_of_every_read_once_and_in_order(lengths, buffer_size):
    # Every letter tells its place, so that a piece's sequence is seen to be the right part of the read.
    reads = [Read(str(i), "".join(chr(33 + place) for place in range(length))) for i, length in enumerate(lengths)]
    found = []
    for window in windows(reads, "nucleotide", CHUNK, buffer_size, 8192):
        assert sum(max(1, len(piece.spans)) for piece in window.pieces) <= buffer_size
        for piece in window.pieces:
            chunks = [piece.sequence[start:end] for start, end in piece.spans]
            found += [(piece.name, piece.length, piece.first + i, chunk) for i, chunk in enumerate(chunks)]
            if not chunks:
                found.append((piece.name, piece.length, piece.first, ""))
    expected = []
    for read in reads:
        spans = chunk_spans(len(read.sequence), CHUNK) or [(0, 0)]
        expected += [(read.name, len(read.sequence), i, read.sequence[a:b]) for i, (a, b) in enumerate(spans)]
    assert found == expected


@given(st.lists(st.integers(0, 1500), max_size=60), BUFFERS, st.integers(1, 20_000))
def test_every_protein_is_in_one_window(lengths, buffer_size, budget):
    made = cut(lengths, buffer_size, "protein", budget)
    assert [piece for window in made for piece in window] == [(i, 0, 1) for i in range(len(lengths))]
    assert all(len(window) <= buffer_size for window in made)
    for window in made:
        tokens = sum(min(lengths[i], 1024) + 2 for i, _, _ in window)
        assert tokens <= PACKS * max(budget, LEAST_BUDGET)


@given(LENGTHS, BUFFERS, st.integers(0, 30))
def test_windows_do_not_depend_on_what_comes_later(lengths, buffer_size, known):
    """A resumed run, or one on more input, meets the same windows again."""
    part, whole = cut(lengths[:known], buffer_size), cut(lengths, buffer_size)
    assert part[:-1] == whole[: len(part[:-1])]
