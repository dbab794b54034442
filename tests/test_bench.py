"""What `make bench` shows of what its steps print, and what it keeps."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest

from benchmarks import bench
from benchmarks.support import digest
from benchmarks.support.git import NoGit

RUN = """\
· Creating environments
· Discovering benchmarks
·· Installing ec4e2641 <main> into virtualenv-py3.11
· Running 66 total benchmarks (2 commits * 1 environments * 33 benchmarks)
[ 0.00%] · For virnucpro commit ec4e2641 <main>:
[ 0.00%] ·· Benchmarking virtualenv-py3.11
[ 1.52%] ··· Setting up measured:24                                          ok
[ 3.03%] ··· commands.EmbedProteins.track_error                              ok
[ 3.03%] ··· =========== ======================= =====
[ 3.03%] ···· For parameters: 'gpu-10k', 'default'
             asv: skipped: NotImplementedError('gpu-10k is skipped')
[ 9.09%] ··· commands.EmbedProteins.track_gpu_memory                 2/4 failed
[ 9.09%] ···   gpu-10k     failed   n/a
[12.12%] ··· commands.EmbedProteins.track_host_memory                        ok
[13.64%] ··· commands.EmbedProteins.track_wall_seconds                       ok
[20.00%] ··· commands.PredictContigs.track_error                             ok
[50.00%] · For virnucpro commit 5784fb67 <v1.0>:
"""
RUN_SHOWN = """\
Creating environments
  1:05    0 %  For virnucpro commit ec4e2641 <main>
  1:05    9 %  commands.EmbedProteins.track_gpu_memory 2/4 failed
  1:05   12 %  commands.EmbedProteins.track_host_memory
  1:05   20 %  commands.PredictContigs.track_error
  1:05   50 %  For virnucpro commit 5784fb67 <v1.0>
"""
COMPARED = """\

All benchmarks:

| Change   | Before [5784fb67] <v1.0>   | After [ec4e2641] <main>   | Ratio   | Benchmark (Parameter)               |
|----------|----------------------------|---------------------------|---------|-------------------------------------|
|          | 1.07                       | n/a                       | n/a     | commands.EmbedProteins.track_error  |
| -        | 2.87m                      | 33.6s                     | 0.19    | commands.EmbedProteins.track_wall   |
"""
CHECKED = "gpu-10k on toy\n\nseconds  1  2\n\nRatio {}\n\nstep by step\npadded fp32\n"


def shown(of: digest.Digest, text: str) -> list[str]:
    return [line for each in text.splitlines() for line in of(each)]


def test_of_a_measurement_its_progress_and_what_failed_are_shown():
    times = iter([0.0, *[65.4] * 100])
    assert shown(digest.progress(clock=lambda: next(times)), RUN) == RUN_SHOWN.splitlines()


def test_of_many_failures_some_are_named():
    failed = "[ 9.09%] ··· commands.EmbedProteins.track_error   failed\n"
    assert len(shown(digest.progress(), failed * 99)) == digest.MOST_FAILURES


def test_of_a_comparison_what_has_two_sides_is_shown():
    assert [line.split("|")[-2].strip() for line in shown(digest.comparison, COMPARED)][2:] == [
        "commands.EmbedProteins.track_wall"
    ]


@pytest.mark.parametrize("ratio, whole", [("6.9, target 4.5: PASS", False), ("3.9, target 4.5: FAIL", True)])
def test_of_a_verdict_the_details_are_shown_where_it_is_missed(ratio, whole):
    text = CHECKED.format(ratio)
    assert shown(digest.verdict(), text) == text.splitlines()[: None if whole else 5]


def test_a_step_that_fails_shows_its_last_lines_and_logs_all(tmp_path, monkeypatch, capfd):
    (tmp_path / "many.py").write_text("for i in range(99): print('line', i)\nraise SystemExit('the reason')\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    log = io.StringIO()
    assert bench.step("Many lines", digest.nothing, ["many"], log) == 1
    out, err = capfd.readouterr()
    assert out == "\n== Many lines\n"
    assert err.splitlines()[1] == "Many lines: ended with exit code 1. Its last lines:"
    assert err.splitlines()[2:] == [f"    line {i}" for i in range(99 - bench.LAST + 1, 99)] + ["    the reason"]
    assert log.getvalue().splitlines()[1:4] == ["== Many lines", "$ many", "line 0"]
    assert len(log.getvalue().splitlines()) == 103


def test_what_was_shown_of_a_step_that_fails_is_not_shown_again(tmp_path, monkeypatch, capfd):
    (tmp_path / "few.py").write_text("print('Ratio 1.8, target 3: FAIL')\nraise SystemExit(1)\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    assert bench.step("A verdict", digest.everything, ["few"], io.StringIO()) == 1
    out, err = capfd.readouterr()
    assert out == "\n== A verdict\nRatio 1.8, target 3: FAIL\n"
    assert err == "\nA verdict: ended with exit code 1.\n"


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capfd):
    (tmp_path / ".asv").write_text("")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    assert bench.main() == 1
    assert capfd.readouterr().err == f"bench: {tmp_path / '.asv'} cannot be written: File exists.\n"


@pytest.mark.parametrize("measured, version, candidates", [
    ("HEAD", "2.1.0.dev0", [None]), ("c0ffee" * 6, "2.1.0.dev0", [None, "c0ffeec0"]), (None, "2.1.0.dev0", [None]),
    (NoGit("none"), "2.1.0.dev0", [None]), ("c0ffee", "2.1.0", [None]), ("HEAD", "2.1.0", [None]),
])  # fmt: skip
def test_between_releases_the_newest_commit_that_was_measured_is_judged(
    tmp_path, monkeypatch, measured, version, candidates
):
    """Where HEAD was not; at a release HEAD itself has to be. All are judged strictly, and one may fail."""

    def nearest(question):
        if isinstance(measured, Exception):
            raise measured
        return measured

    (tmp_path / "virnucpro").mkdir()
    (tmp_path / "virnucpro" / "_version.py").write_text(f'__version__ = "{version}"\n')
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "nearest", nearest)
    steps = list(bench.of_committed_results())
    assert [dict(pairwise(words)).get("--candidate") for *_, words in steps] == candidates
    assert all("--strict" in words for *_, words in steps)
    assert [title for title, *_ in steps] == [bench.NOT_YET, bench.ELSEWHERE][-len(candidates) :]


@pytest.mark.parametrize("codes, code", [([1, 0], 0), ([1, 1], 1), ([0, 77], 77)])
def test_only_that_head_was_not_measured_there_is_no_failure(tmp_path, monkeypatch, codes, code):
    todo = [(bench.NOT_YET, digest.nothing, ["a"]), (bench.ELSEWHERE, digest.nothing, ["b"])]
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "steps", lambda: todo)
    monkeypatch.setattr(bench, "step", lambda title, *_: dict(zip([bench.NOT_YET, bench.ELSEWHERE], codes))[title])
    assert bench.main() == code


@pytest.mark.parametrize("measured, version, more", [
    (None, "2.1.0.dev0", []), ("c0ffee" * 6, "2.1.0.dev0", ["--candidate", "c0ffeec0"]), (None, "2.1.0", ["--strict"]),
    ("c0ffee" * 6, "2.1.0", ["--strict"]), ("HEAD", "2.1.0.dev0", []),
])  # fmt: skip
def test_the_other_claims_are_judged_strictly_at_a_release(tmp_path, monkeypatch, measured, version, more):
    (tmp_path / "virnucpro").mkdir()
    (tmp_path / "virnucpro" / "_version.py").write_text(f'__version__ = "{version}"\n')
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "nearest", lambda question: measured)
    steps = list(bench.of_other_claims())
    assert [words[:3] for *_, words in steps] == [
        ["benchmarks.check_speedup", "--claim", f"{name}-int8"] for name in ("proteins", "reads", "contigs")
    ]
    assert all(words[7:] == more for *_, words in steps)


@pytest.mark.parametrize("code, whole", [(0, 0), (77, 0), (1, 1), (2, 2)])
def test_only_that_another_claim_is_not_measured_yet_is_no_failure(tmp_path, monkeypatch, code, whole):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "steps", lambda: [(f"{bench.ANOTHER}reads-int8 on toy", digest.nothing, ["a"])])
    monkeypatch.setattr(bench, "step", lambda *_: code)
    assert bench.main() == whole


@pytest.mark.parametrize("workload, measured, aside", [
    ("gpu-10k", ["EmbedProteins", "EmbedProteinsInt8", "PredictReads", "PredictReadsInt8", "PredictContigsInt8"], []),
    ("cpu-small", ["EmbedProteins"], ["PredictReads"]),
])  # fmt: skip
def test_what_is_judged_is_measured_in_rounds_and_the_rest_once(monkeypatch, workload, measured, aside):
    monkeypatch.setattr(bench, "this_machine", lambda: "toy")
    monkeypatch.setattr(bench.inputs, "chosen", lambda: workload)
    monkeypatch.setattr(bench, "of_committed_results", list)
    commands = {title: words for title, _, words in bench.steps()}
    in_rounds, once = (
        next(re.compile(word.removeprefix("--bench=")) for word in commands[title] if word.startswith("--bench="))
        for title in ("Measure what is judged, pair 1", "Measure the rest, the newest first")
    )
    for names, first in ((measured, True), ([*aside, "EmbedProteinsNew"], False)):
        for name in names:
            key = f"commands.{name}.track_error('{workload}', 'default')"
            assert (bool(in_rounds.search(key)), bool(once.search(key))) == (first, not first)
    claims = [words[words.index("--claim") + 1] for title, words in commands.items() if "on this machine" in title[5:]
              and "--claim" in words]  # fmt: skip
    assert claims == (["proteins-int8", "reads-int8", "contigs-int8"] if workload == "gpu-10k" else [])
