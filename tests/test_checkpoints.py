"""Checkpoints: finished windows to disk and back, and files that are not what they were."""

import json
import logging
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.engine.results import FinishedWindow
from virnucpro.pipeline import checkpoints
from virnucpro.pipeline.checkpoints import CheckpointStore

NEVER = 10**9


def finished(index, count=2, failures=(), names=None, width=3):
    """A window of `count` reads with a chunk each, whose first frame is open."""
    rng = np.random.default_rng(index)
    audited = {}
    if index % 2:
        audited = {"audited_A": np.array([0]), "cosines_AM": rng.random((1, 1))}
        audited["reference_A2"] = rng.random((1, 2), np.float32)
    return FinishedWindow(
        index=index,
        names=names or [f"w{index}r{place}" for place in range(count)],
        lengths_R=np.full(count, 60),
        firsts_R=np.zeros(count, np.int64),
        chunks_R=np.ones(count, np.int64),
        open_C=np.ones(count, np.uint8),
        cut=1,
        unknown=2,
        failures=dict.fromkeys(failures, "why"),
        scores_S2=rng.random((count, 2), np.float32),
        features={"esm2": rng.random((count, width), np.float32)},
        copies=3,
        **audited,
    )


def assert_same(one, other):
    one, other = ({**vars(window), **window.features, "features": list(window.features)} for window in (one, other))
    for name, value in one.items():
        found = other[name]
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            assert np.array_equal(found, value, equal_nan=True), name
        else:
            assert found == value, name


@pytest.fixture
def store(tmp_path):
    def make(sequences=NEVER, seconds=NEVER, record=lambda: None):
        return CheckpointStore(tmp_path / "windows", record, sequences, seconds)

    return make


@pytest.fixture
def kept(store):
    """A folder with three files of two windows each, and their entries."""
    first = store(sequences=4)
    for index in range(6):
        first.add(finished(index, failures=(1,) if index == 3 else ()))
    first.flush()
    assert [entry["windows"] for entry in first.entries] == [[0, 1], [2, 3], [4, 5]]
    return first.folder, json.loads(json.dumps(first.entries))


def test_windows_of_a_commit_that_did_not_count_copies_come_back(store, monkeypatch):
    there = store()
    there.add(finished(0))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_FACTS", ("names", "cut", "unknown", "failures"))
        there.flush()
    (window,) = there.finished()
    assert (window.cut, window.unknown, window.copies) == (1, 2, 0)


def test_windows_come_back_in_order(store):
    there = store(sequences=4)
    made = [finished(index, failures=(1,) if index == 3 else ()) for index in range(5)]
    for index in (3, 1, 0, 2, 4):
        there.add(made[index])
    assert there.done == {0, 1, 2, 3, 4}
    there.flush()
    found = list(there.finished())
    for one, other in zip(made, found, strict=True):
        assert_same(one, other)
    for one, other in zip(made, there.finished(with_features=False), strict=True):
        assert_same(replace(one, features={}), other)


def test_an_interrupted_run_is_taken_up(kept, store):
    _, entries = kept
    again = store()
    again.resume(entries)
    assert again.done == {0, 1, 2, 4, 5}  # a window with a failure is tried again
    again.add(finished(3))
    again.flush()
    assert again.entries[-1]["file"] == "000003.safetensors"  # no file is written twice
    for index, window in enumerate(again.finished()):
        assert_same(finished(index), window)


def test_a_window_that_two_files_hold_counts_once(kept, store):
    _, entries = kept
    again = store()
    again.resume([*entries, entries[0]])
    assert again.entries == [
        entry | {"windows": [2], "failed": []} if 3 in entry["windows"] else entry for entry in entries
    ]


@pytest.mark.parametrize("threshold, files", [(1, 5), (4, 3), (5, 2), (100, 1)])
def test_a_file_is_due_after_so_many_sequences(store, threshold, files):
    there = store(sequences=threshold)
    for index in range(5):
        there.add(finished(index, count=2))
    there.flush()
    assert len(there.entries) == files
    assert sum(entry["sequences"] for entry in there.entries) == 10


def test_reads_without_sequences_make_a_file_due_too(store):
    there = store(sequences=4)
    window = finished(0, count=2)
    window.open_C[:] = 0
    window.scores_S2, window.features = None, {}
    there.add(window)
    there.add(finished(1, count=2))
    assert there.done == {0, 1}
    assert [entry["windows"] for entry in there.entries] == [[0, 1]]
    assert there.entries[0]["sequences"] == 2
    there.flush()
    assert_same(window, next(there.finished()))


def test_a_file_is_due_after_so_many_seconds(store, monkeypatch):
    now = 100.0
    monkeypatch.setattr("virnucpro.pipeline.checkpoints.time.monotonic", lambda: now)
    there = store(seconds=10)
    for index, now in enumerate((101, 109, 111, 112, 121)):  # noqa: B007
        there.add(finished(index))
    there.flush()
    assert [entry["windows"] for entry in there.entries] == [[0, 1, 2], [3, 4]]


def test_the_manifest_knows_of_the_folder_first_and_of_every_file(store):
    seen = []
    there = store(sequences=1, record=lambda: seen.append((there.folder.exists(), len(there.entries))))
    for index in range(2):
        there.add(finished(index))
    there.flush()
    assert seen == [(False, 0), (True, 1), (True, 2)]


def test_a_file_that_cannot_be_written_is_tried_again(store, monkeypatch):
    there = store(sequences=2)
    monkeypatch.setattr(
        "virnucpro.pipeline.checkpoints.save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    there.add(finished(0))
    with pytest.raises(OSError, match="No space left"):
        there.add(finished(1))
    assert there.entries == []
    monkeypatch.undo()
    there.flush()
    assert [window.index for window in there.finished()] == [0, 1]
    assert not list(there.folder.glob(".*"))


def test_an_interrupt_while_a_file_is_written_leaves_one_writer(store, monkeypatch):
    """The first `flush` is broken off while it waits for the thread; the second must wait for it again."""
    go_on, recorded = threading.Event(), []
    there = store(sequences=1, record=lambda: (go_on.wait(20), recorded.append(threading.get_ident())))
    there.add(finished(0))
    with monkeypatch.context() as patch:
        patch.setattr("virnucpro.pipeline.checkpoints.wait", lambda futures: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            there.flush()
    threading.Timer(0.2, go_on.set).start()
    there.flush()
    assert len(set(recorded)) == 1
    assert [entry["windows"] for entry in there.entries] == [[0]]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# name: (what is done to the file, or to its entry; what is said)
DAMAGE = {
    "missing": (lambda path, entry: path.unlink(), "is missing"),
    "a folder": (lambda path, entry: (path.unlink(), path.mkdir()), "is missing"),
    "empty": (lambda path, entry: path.write_bytes(b""), "is damaged or of another run"),
    "cut off": (lambda path, entry: path.write_bytes(path.read_bytes()[:-1]), "is damaged or of another run"),
    "a flipped bit": (lambda path, entry: flip(path), "is damaged or of another run"),
    "foreign": (lambda path, entry: shutil.copy(path.with_stem("000000"), path), "is damaged or of another run"),
    "no sha256": (lambda path, entry: entry.pop("sha256"), "cannot be read ('sha256')"),
    "no windows": (lambda path, entry: entry.pop("windows"), "cannot be read ('windows')"),
    "no failed": (lambda path, entry: entry.pop("failed"), "cannot be read ('failed')"),
    "more windows than it holds": (lambda path, entry: entry["windows"].append(9), "lacks windows"),
    "windows as text": (lambda path, entry: entry.update(windows=["2"]), "has windows without a number"),
    "windows as null": (lambda path, entry: entry.update(windows=None), "cannot be read"),
    "a name as null": (lambda path, entry: entry.update(file=None), "cannot be read"),
    "a file elsewhere": (lambda path, entry: entry.update(file="../000001.safetensors"), "is none of this program's"),
    "another name": (lambda path, entry: entry.update(file="model.safetensors"), "is none of this program's"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_does_not_count(kept, store, caplog, name):
    folder, entries = kept
    damage, said = DAMAGE[name]
    damage(folder / "000001.safetensors", entries[1])
    again = store()
    with caplog.at_level(logging.WARNING):
        again.resume(entries)
    assert again.done == {0, 1, 4, 5}
    (record,) = caplog.records
    assert said in record.getMessage()
    assert record.getMessage().endswith("its windows are computed again.")
    for index in (2, 3):
        again.add(finished(index))
    again.flush()
    assert [window.index for window in again.finished()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("entry", [None, "000001.safetensors", [], 7])
def test_an_entry_that_is_none(kept, store, caplog, entry):
    _, entries = kept
    again = store()
    again.resume([entries[0], entry])
    assert again.done == {0, 1}
    assert "cannot be read" in caplog.text


def test_only_own_files_that_no_entry_names_are_removed(kept, store):
    folder, entries = kept
    for name in ("000009.safetensors", "mine.safetensors", "000009.txt"):
        (folder / name).write_text("x")
    again = store()
    again.resume(entries[:2])
    assert (folder / "000009.safetensors").exists()  # the request may yet be refused
    again.remove_unlisted()
    assert sorted(path.name for path in folder.iterdir()) == [
        "000000.safetensors", "000001.safetensors", "000009.txt", "mine.safetensors",
    ]  # fmt: skip


def test_forget(kept, store):
    folder, entries = kept
    again = store()
    again.resume(entries)
    again.add(finished(3))
    again.forget()
    again.flush()
    assert (again.done, again.entries, folder.exists()) == (set(), [], False)


float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
name = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
window = st.lists(st.tuples(name, st.integers(0, 63), st.integers(0, 10**12)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(windows=st.lists(window, min_size=1, max_size=3), data=st.data())
def test_names_masks_scores_and_reasons_come_back(tmp_path_factory, windows, data):
    there = CheckpointStore(
        tmp_path_factory.mktemp("store") / "windows", lambda: None, data.draw(st.integers(1, 20)), NEVER
    )
    made = []
    for index, rows in enumerate(windows):
        names, masks, lengths = map(list, zip(*rows))
        one = finished(index, len(rows), names=names)
        one.open_C, one.lengths_R = np.array(masks, np.uint8), np.array(lengths)
        shape = (one.sequences, 2)
        one.scores_S2 = np.array(data.draw(st.lists(float32, min_size=2 * shape[0], max_size=2 * shape[0])), np.float32)
        one.scores_S2 = one.scores_S2.reshape(shape)
        one.features = {} if data.draw(st.booleans()) else {"esm2": np.full((shape[0], 5), np.nan, np.float32)}
        one.failures = data.draw(st.dictionaries(st.integers(0, max(0, shape[0] - 1)), name, max_size=2))
        made.append(one)
        there.add(one)
    there.flush()
    for one, other in zip(made, there.finished(), strict=True):
        assert_same(one, other)
