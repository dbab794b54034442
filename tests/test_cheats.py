"""Cheats: whatever talks the checker round, planted in throwaway clones of this repository with its own results.

A row each: what is done, and the words that caught it. Each is judged as at a release (`--strict`). What none of this
can see is somebody who forges a result and all of its evidence, each in agreement with the other: docs/benchmarks.md.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import pytest
import toy_suite
from conftest import ROOT
from surroundings import HANG

from benchmarks import check_speedup
from benchmarks.releases import commit_of
from benchmarks.support import evidence
from benchmarks.support import git as git_module
from benchmarks.support.git import GitFailed, NoGit, holds
from benchmarks.support.sides import keys_of

MACHINE, BENCHMARK = "nvidia-h100", "commands.EmbedProteins"
WALL, ERROR = f"{BENCHMARK}.track_wall_seconds", f"{BENCHMARK}.track_error"
KEYS = keys_of(BENCHMARK)  # evidence's names, and asv's
ELSEWHERE = "another-gpu"
ABOUT_OBJECTS = ("cat-file", "grep", "ls-tree", "merge-base", "rev-parse", "show")  # commands of git
OF_A_COMMIT = re.compile(r"([0-9a-f]{40})(?:[:^].*)?")


@dataclass(frozen=True)
class Clone:
    """A clone at the candidate, or at a commit with its package, with results."""

    repo: Path
    baseline: str
    candidate: str

    @property
    def results(self) -> Path:
        return self.repo / "results" / MACHINE

    def git(self, *arguments: str) -> str:
        return toy_suite.git(self.repo, *arguments)

    def commit(self, file: str, text: str) -> str:
        """A new HEAD, in which a file begins with that text."""
        path = self.repo / file
        path.write_text(text + path.read_text(encoding="utf-8"), encoding="utf-8")
        self.git("add", file)
        self.git("commit", "--quiet", "--message", "Cheat")
        return self.git("rev-parse", "HEAD")

    def stored(self, commit: str, change: Callable[[dict], object]) -> None:
        """Change asv's file of a commit."""
        (path,) = self.results.glob(f"{commit[:8]}-*.json")
        whole = json.loads(path.read_text(encoding="utf-8"))
        change(whole)
        path.write_text(json.dumps(whole), encoding="utf-8")

    def cells(self, commit: str, key: str, column: str, change: Callable[[list], object]) -> None:
        """Change what a row has in a column: a list with a place for each set of parameters."""

        def changed(whole: dict) -> None:
            row, place = whole["results"][key], whole["result_columns"].index(column)
            row[place] = change(list(row[place]))
            if column == "samples":  # whoever edits these thinks of their number, too
                place = whole["result_columns"].index("stats_repeat")
                row[place] = [each and len(each) for each in row[whole["result_columns"].index("samples")]]

        self.stored(commit, changed)

    def paths(self, commit: str, workers: str = "*") -> list[Path]:
        return sorted(self.results.glob(f"evidence/{commit[:8]}-EmbedProteins-gpu-10k-{workers}-*.jsonl"))

    def told(self, commit: str, change: Callable[[dict], object], workers: str = "*", only: int | None = None) -> None:
        """Change the evidence of a commit's runs, or of one of them."""
        paths = self.paths(commit, workers)
        for path in paths if only is None else [paths[only]]:
            document = json.loads(path.read_text(encoding="utf-8"))
            change(document)
            path.write_text(json.dumps(document), encoding="utf-8")

    def rewritten(self, commit: str, name: str, key: str, change: Callable[[float], float], workers: str = "*") -> None:
        """Change a figure in asv's file and in the evidence alike, as somebody does who thinks of both."""
        self.told(commit, lambda document: document.update({name: change(document[name])}), workers)
        every = {"default": 0, "one": 1}
        for place in every.values() if workers == "*" else [every[workers]]:

            def samples(cells: list, place: int = place) -> list:
                return [[change(x) for x in cell] if i == place and cell else cell for i, cell in enumerate(cells)]

            self.cells(commit, key, "samples", samples)
        (path,) = self.results.glob(f"{commit[:8]}-*.json")
        whole = json.loads(path.read_text(encoding="utf-8"))
        row = dict(zip(whole["result_columns"], whole["results"][key], strict=False))
        results = [median(cell) if cell else old for cell, old in zip(row["samples"], row["result"], strict=True)]
        self.cells(commit, key, "result", lambda cells: results)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    try:
        runs = [run for run in evidence.load(ROOT / "results" / MACHINE) if run["benchmark"] == BENCHMARK]
        baseline = commit_of(ROOT, "v1.0")
    except (GitFailed, NoGit) as error:
        pytest.skip(f"needs this repository's own history: {error}")
    others = Counter(run["commit"] for run in runs if run["commit"] != baseline)
    candidate = next(run["commit"] for run in reversed(runs) if others[run["commit"]] >= 3)
    repo = tmp_path_factory.mktemp("cheats") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", "--template=", str(ROOT), repo], check=True)
    # Each cheat has a copy: of what it can do without there are no files.
    toy_suite.git(repo, "sparse-checkout", "set", "--no-cone", "/*", "!/tests/", "!/docs/")
    suite = next(run["suite"]["commit"] for run in reversed(runs) if run["commit"] == candidate)
    of_later = not holds(repo, "merge-base", "--is-ancestor", suite, candidate)
    toy_suite.git(repo, "checkout", "--quiet", "--detach", suite if of_later else candidate)
    if of_later:  # a release that was recorded by later benchmarks: their history, its package
        toy_suite.git(repo, "rm", "-r", "--quiet", "virnucpro", "setup.py")
        toy_suite.git(repo, "checkout", "--quiet", candidate, "--", "virnucpro", "setup.py")
        toy_suite.git(repo, "commit", "--quiet", "--message", "The package of the candidate")
    shutil.rmtree(repo / "results", ignore_errors=True)
    shutil.copytree(ROOT / "results", repo / "results")
    for path in (repo / "results" / MACHINE).rglob("*-*.json*"):
        if not holds(repo, "merge-base", "--is-ancestor", path.name.split("-")[0], "HEAD"):
            path.unlink()  # of a later commit, by a suite that is not in this history
    return Clone(repo, baseline, candidate)


@pytest.fixture(scope="module")
def old_commits_once(original: Clone) -> Iterator[None]:
    """What git says of one of the commits that all clones have is asked once: a judgement takes 180 such questions.

    Not by the name of a branch or of a tag, nor of a cheat's own commit, nor under another configuration.
    """
    known = set(original.git("rev-list", "--all", "HEAD").split())
    answers: dict[tuple, subprocess.CompletedProcess] = {}

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess:
        repo, asked = Path(command[2]), command[3 + len(git_module.PLAIN) :]
        if "HEAD" in asked:  # of which a clone of ours has the commit itself
            asked[asked.index("HEAD")] = (repo / ".git" / "HEAD").read_text().strip()
        revisions = {found[1] for each in asked if (found := OF_A_COMMIT.fullmatch(each))}
        if asked[0] not in ABOUT_OBJECTS or not revisions or revisions - known:
            return subprocess.run(command, **options)
        key = (repo / ".git" / "config").read_bytes(), *asked
        if key not in answers:
            answers[key] = subprocess.run(command, **options)
        return answers[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(git_module, "subprocess", SimpleNamespace(run=run))
        yield


@pytest.fixture
def clone(original: Clone, old_commits_once: None, tmp_path: Path) -> Clone:
    shutil.copytree(original.repo, tmp_path / "clone", symlinks=True)
    return Clone(tmp_path / "clone", original.baseline, original.candidate)


def judged(clone: Clone, capsys: pytest.CaptureFixture, *more: str) -> tuple[int, str]:
    file = clone.repo / "speedup.json"
    code = check_speedup.main(["--machine", MACHINE, "--strict", "--json", str(file), *more], clone.repo)
    printed = capsys.readouterr()
    assert json.loads(file.read_text(encoding="utf-8"))["verdict"] in ("PASS", "FAIL", "AMBIGUOUS", "NOT MEASURED")
    return code, printed.out + printed.err


def test_the_results_themselves_pass(clone, capsys):
    code, said = judged(clone, capsys)
    assert code == 0 and said.count(": PASS") == 1


# --- another package than the one that was measured -------------------------------------------------------------------


def sleep(clone: Clone) -> None:
    clone.commit("virnucpro/__main__.py", "import time\n\ntime.sleep(1000)\n")


def no_command_line(clone: Clone) -> None:
    clone.git("rm", "--quiet", "virnucpro/cli.py")
    clone.git("commit", "--quiet", "--message", "Cheat")


def another_setup(clone: Clone) -> None:
    clone.commit("setup.py", "# another package is built\n")


def relabelled(clone: Clone) -> None:
    """The results of the commit before are given the hash of a slow one, and so is their evidence."""
    head = clone.commit("virnucpro/__main__.py", "import time\n\ntime.sleep(1000)\n")
    clone.told(clone.candidate, lambda document: document.update(commit=head))
    clone.stored(clone.candidate, lambda whole: whole.update(commit_hash=head))
    for path in [*clone.results.glob(f"{clone.candidate[:8]}-*.json"), *clone.paths(clone.candidate)]:
        path.rename(path.with_name(path.name.replace(clone.candidate[:8], head[:8])))


def relabelled_without_evidence(clone: Clone) -> None:
    head = clone.commit("virnucpro/__main__.py", "import time\n\ntime.sleep(1000)\n")
    clone.stored(clone.candidate, lambda whole: whole.update(commit_hash=head))
    (path,) = clone.results.glob(f"{clone.candidate[:8]}-*.json")
    path.rename(path.with_name(path.name.replace(clone.candidate[:8], head[:8])))


def another_version(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["package"].update(version="0.9.0"))


def slower_baseline_code(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["package"].update(digest="0" * 64))


# --- another commit by a release's name -------------------------------------------------------------------------------


def moved_tag(clone: Clone) -> None:
    clone.git("tag", "--force", "v1.0", "HEAD")


def branch_of_that_name(clone: Clone) -> None:
    clone.git("branch", "v1.0", "HEAD")


def remote_branch_of_that_name(clone: Clone) -> None:
    clone.git("update-ref", "refs/remotes/origin/v1.0", "HEAD")


def name_known_to_git_alone(clone: Clone) -> None:
    (clone.repo / ".git" / "v1.0").write_text(clone.git("rev-parse", "HEAD") + "\n")


def another_table(clone: Clone) -> None:
    a_table_that_nobody_committed(clone)
    clone.git("commit", "--quiet", "--all", "--message", "Cheat")


def a_table_that_nobody_committed(clone: Clone) -> None:
    table = clone.repo / "benchmarks" / "releases.toml"
    table.write_text(table.read_text().replace(clone.baseline, clone.candidate))
    for tag in clone.git("tag", "--list", "v1.0").split():
        clone.git("tag", "--delete", tag)


# --- figures ----------------------------------------------------------------------------------------------------------


def no_time_at_all(clone: Clone) -> None:
    clone.rewritten(clone.candidate, "seconds", WALL, lambda x: 1e-9)


def faster_than_its_own_stages(clone: Clone) -> None:
    clone.rewritten(clone.candidate, "seconds", WALL, lambda x: x / 4)
    clone.told(clone.candidate, lambda document: document.update(ended=document["begun"] + document["seconds"]))


def slower_baseline(clone: Clone) -> None:
    clone.rewritten(clone.baseline, "seconds", WALL, lambda x: 2 * x)
    clone.told(clone.baseline, lambda document: document.update(ended=document["begun"] + document["seconds"]))


def edited_median(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "result", lambda cells: [1.0, *cells[1:]])


def edited_samples(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "samples", lambda cells: [[x / 2 for x in cells[0]], *cells[1:]])


def true(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "samples", lambda cells: [[True] * len(cells[0]), *cells[1:]])


def true_as_result(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "result", lambda cells: [True, *cells[1:]])


def null(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "result", lambda cells: [None, *cells[1:]])


def infinite_baseline(clone: Clone) -> None:
    clone.rewritten(clone.baseline, "seconds", WALL, lambda x: math.inf)


def skipped(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "result", lambda cells: [math.nan, *cells[1:]])


def only_the_best(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "samples", lambda cells: [sorted(cells[0])[:-1], *cells[1:]])


def one_more(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "samples", lambda cells: [[*cells[0], 20.0], *cells[1:]])


def no_samples(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "samples", lambda cells: [None] * len(cells))


def without_the_best_setting(clone: Clone) -> None:
    clone.cells(clone.baseline, WALL, "result", lambda cells: [cells[0], math.nan, *cells[2:]])


def without_the_default(clone: Clone) -> None:
    clone.cells(clone.baseline, WALL, "result", lambda cells: [math.nan, *cells[1:]])


def another_version_of_the_benchmark(clone: Clone) -> None:
    clone.stored(clone.candidate, lambda whole: whole["results"][WALL].__setitem__(2, "1"))


def another_environment(clone: Clone) -> None:
    clone.stored(clone.baseline, lambda whole: whole.update(env_name="another"))


# --- errors -----------------------------------------------------------------------------------------------------------


def error_of(x: float) -> Callable[[Clone], None]:
    return lambda clone: clone.rewritten(clone.candidate, "error", ERROR, lambda _: x)


def error_edited_in_asvs_file(clone: Clone) -> None:
    clone.cells(clone.candidate, ERROR, "result", lambda cells: [1e-6, *cells[1:]])


def error_null(clone: Clone) -> None:
    clone.cells(clone.candidate, ERROR, "result", lambda cells: [None, *cells[1:]])


def error_absent(clone: Clone) -> None:
    clone.stored(clone.candidate, lambda whole: whole["results"].pop(ERROR))


def baseline_error_enlarged(clone: Clone) -> None:
    """So that the candidate's, which is wrong, is no larger."""
    clone.rewritten(clone.baseline, "error", ERROR, lambda x: 2.0)
    clone.rewritten(clone.candidate, "error", ERROR, lambda x: 1.41)


# --- output -----------------------------------------------------------------------------------------------------------


def output(**change: object) -> Callable[[Clone], None]:
    return lambda clone: clone.told(clone.candidate, lambda document: document["output"].update(change))


def unfinished(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["manifest"].update(status="partial"))


# --- workload ---------------------------------------------------------------------------------------------------------


def fewer_proteins(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["input"].update(sequences=1000))


def other_proteins(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["input"].update(sha256="0" * 64))


def the_small_workload(clone: Clone) -> None:
    small = {"name": "proteins-small", "sha256": "0" * 64, "sequences": 200}
    clone.told(clone.candidate, lambda document: document.update(input=small))


def another_reading(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["manifest"]["input"].update(sha256="0" * 64))


def a_smaller_model(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["weights"].update(sha256="0" * 64))


def a_slow_precision(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["manifest"]["settings"].update(precision="fp32"))


# --- machine ----------------------------------------------------------------------------------------------------------


def gpu(side: str, **change: object) -> Callable[[Clone], None]:
    return lambda clone: clone.told(getattr(clone, side), lambda document: document["gpu"].update(change))


def slowed(side: str, **shares: float) -> Callable[[Clone], None]:
    return lambda clone: clone.told(getattr(clone, side), lambda document: document["gpu"]["slowed_by"].update(shares))


def no_gpu(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document.update(gpu=None))


def relabelled_machine(clone: Clone) -> None:
    path = clone.results / "machine.json"
    path.write_text(path.read_text().replace("NVIDIA H100", "NVIDIA H200"))


def busy(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document.update(load=64.0))


def another_torch(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["machine"]["packages"].update(torch="2.10.0"))


def no_rest(clone: Clone) -> None:
    def back_to_back(document: dict) -> None:
        document["begun"] -= 20.0
        document["ended"] -= 20.0

    clone.told(clone.baseline, back_to_back, "one")


def two_sittings(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["machine"].update(boot="another"))


def long_ago(clone: Clone) -> None:
    """Between measuring one side and the other, and before the candidate was there."""

    def earlier(document: dict) -> None:
        document["begun"] -= 90 * 86_400
        document["ended"] -= 90 * 86_400

    clone.told(clone.candidate, earlier)


# --- evidence ---------------------------------------------------------------------------------------------------------


def none(clone: Clone) -> None:
    shutil.rmtree(clone.results / "evidence")


def the_slowest_run_is_gone(clone: Clone) -> None:
    slowest = max(clone.paths(clone.candidate), key=lambda path: json.loads(path.read_text())["seconds"])
    slowest.unlink()


def a_run_that_asv_does_not_know(clone: Clone) -> None:
    path = clone.paths(clone.candidate)[0]
    path.with_name(path.name.replace(".jsonl", "-again.jsonl")).write_bytes(path.read_bytes())


def not_of_the_last_run(clone: Clone) -> None:
    """asv's own record says that it measured at another time."""
    for key in (WALL, ERROR, f"{BENCHMARK}.track_gpu_memory", f"{BENCHMARK}.track_host_memory"):
        clone.stored(clone.candidate, lambda whole, key=key: whole["results"][key].__setitem__(3, 1))


def seconds_that_did_not_pass(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document.update(ended=document["begun"] + 1.0))


def changed_suite(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["suite"].update(clean=False))


def a_suite_that_nobody_has(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["suite"].update(commit="c0ffee00" * 5))


def no_json(clone: Clone) -> None:
    clone.paths(clone.candidate)[0].write_text('{"format": 1, ')


def words_for_numbers(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document.update(seconds="34 s"))


def deep_json(clone: Clone) -> None:
    clone.paths(clone.candidate)[0].write_text("[" * 100_000)


def evidence_without(*names: str) -> Callable[[Clone], None]:
    def cheat(clone: Clone) -> None:
        for side in (clone.baseline, clone.candidate):
            clone.told(side, lambda document: [document[name].clear() for name in names])

    return cheat


def words_for_a_load(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["machine"].update(cpus="many"))


def a_list_for_settings(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["manifest"].update(settings=[]))


# --- found by a review ------------------------------------------------------------------------------------------------


def no_number_for_the_end(clone: Clone) -> None:
    clone.rewritten(clone.baseline, "seconds", WALL, lambda x: 3 * x)
    clone.told(clone.baseline, lambda document: document.update(ended=math.nan))


def the_end_of_time(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document.update(ended=1e300))


def asvs_time_without_end(clone: Clone) -> None:
    clone.stored(clone.candidate, lambda whole: whole["results"][WALL].__setitem__(4, math.inf))


def fewer_processors(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["machine"].update(cpus=4))


def variables(clone: Clone) -> None:
    setting = {"CUDA_LAUNCH_BLOCKING": "1"}
    clone.told(clone.baseline, lambda document: document["machine"].update(gpu_settings=setting))


def another_command(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["command"].extend(["--batch-tokens", "1"]))


def workers_of_the_other_setting(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document.update(command=document["command"][:-2]), "one")


def a_run_that_failed(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document.update(exit_code=1))


def a_resumed_run(clone: Clone) -> None:
    clone.told(
        clone.candidate, lambda document: document["manifest"]["sessions"].extend(document["manifest"]["sessions"])
    )


def no_session(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["manifest"].update(sessions=[]))


def a_small_model_by_its_manifest(clone: Clone) -> None:
    setting = {"esm_model": "esm2_t6_8M_UR50D"}
    clone.told(clone.candidate, lambda document: document["manifest"]["settings"].update(setting))


def another_build(name: str) -> Callable[[Clone], None]:
    def cheat(clone: Clone) -> None:
        (clone.repo / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.repo / name).write_text("[build-system]\n", encoding="utf-8")
        clone.git("add", "--force", name)
        clone.git("commit", "--quiet", "--message", "Cheat")

    return cheat


def no_readme(clone: Clone) -> None:
    """setup.py reads it: such a commit cannot be built."""
    clone.git("rm", "--quiet", "README.md")
    clone.git("commit", "--quiet", "--message", "Cheat")


def a_suite_beside_the_history(clone: Clone) -> None:
    commit = clone.git("commit-tree", "HEAD^{tree}", "-m", "Nowhere")
    clone.told(clone.candidate, lambda document: document["suite"].update(commit=commit))


def another_run_meanwhile(clone: Clone) -> None:
    """Of reads, on the same GPU, while v1.0 embeds."""
    embeds = json.loads(clone.paths(clone.baseline)[-1].read_text())
    path = max(clone.results.glob(f"evidence/{clone.baseline[:8]}-PredictReads-*.jsonl"))
    reads, begun = json.loads(path.read_text()), embeds["begun"] + 30.0
    reads |= {"machine": embeds["machine"], "gpu": embeds["gpu"], "begun": begun, "ended": begun + reads["seconds"]}
    path.write_text(json.dumps(reads))


def a_machine_of_any_gpu(clone: Clone) -> None:
    path = clone.results / "machine.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "gpu"}))


def two_files_of_a_commit(clone: Clone) -> None:
    (path,) = clone.results.glob(f"{clone.baseline[:8]}-*.json")
    whole = json.loads(path.read_text()) | {"date": 1}
    path.with_name(path.name.replace(".json", "-2.json")).write_text(json.dumps(whole))


def names_that_stand_there_twice(clone: Clone) -> None:
    path = clone.paths(clone.candidate)[0]
    path.write_text(path.read_text().replace('"seconds":', '"seconds": 500.0, "seconds":', 1))


def compiled_code(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["package"].update(strangers=["engine.abi3.so"]))


def rows_that_repeat(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["output"].update(distinct=65))


def no_regular_file(clone: Clone) -> None:
    path = clone.paths(clone.candidate)[0]
    path.unlink()
    os.mkfifo(path)


def a_link(clone: Clone) -> None:
    path = clone.paths(clone.candidate)[0]
    path.unlink()
    path.symlink_to("/dev/zero")


def large_numbers(clone: Clone) -> None:
    clone.told(clone.baseline, lambda document: document["gpu"].update(sm_clock=10**400))


def a_deep_machine(clone: Clone) -> None:
    (clone.results / "machine.json").write_text("[" * 100_000)


def a_later_format(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document.update(format=2))


# --- found by a second review -----------------------------------------------------------------------------------------


def a_readme_that_cannot_be_read(clone: Clone) -> None:
    (clone.repo / "README.md").write_bytes(b"# virnucpro \xff\n")
    clone.git("commit", "--quiet", "--all", "--message", "Cheat")


def again(clone: Clone, side: str, workers: str, shift: float, **change: object) -> list[dict]:
    """Evidence of the same runs in another sitting, so many seconds later; not in asv's files."""
    documents = []
    for path in clone.paths(side, workers):
        document = json.loads(path.read_text(encoding="utf-8"))
        document |= change
        document["begun"] += shift
        document["ended"] = document["begun"] + document["seconds"]
        document["machine"]["boot"] = "another"
        path.with_name(f"{document['commit'][:8]}-again-{document['begun']:.0f}.jsonl").write_text(json.dumps(document))
        documents.append(document)
    return documents


def known_to_asv(clone: Clone, commit: str, workers: str, documents: list[dict]) -> None:
    """Into asv's file the figures of more evidence, as if they had been measured last."""
    place = {"default": 0, "one": 1}[workers]
    for name, key in KEYS.items():
        found = [json.loads(path.read_text())[name] for path in clone.paths(commit, workers)]
        found += [document[name] for document in documents]
        for column, value in (("samples", found), ("result", median(found))):
            clone.cells(commit, key, column, lambda cells, value=value: [*cells[:place], value, *cells[place + 1 :]])
        last = documents[-1]
        clone.stored(
            commit, lambda whole, key=key, last=last: whole["results"][key].__setitem__(3, 1000 * int(last["begun"]))
        )
        clone.stored(commit, lambda whole, key=key: whole["results"][key].__setitem__(4, 1000.0))


def a_slow_run_of_a_stand_in(clone: Clone) -> None:
    """Of a later commit with the same package there is evidence, and asv's file is gone."""
    head = clone.commit("CHANGELOG.md", "More.\n")
    again(clone, clone.candidate, "default", 86_400.0, commit=head, seconds=200.0)


def a_best_setting_that_is_junk(clone: Clone) -> None:
    """Only the default is run in turn; the one run of the better setting is of another year and machine, and slow."""
    paths = clone.paths(clone.baseline, "one")
    documents = [json.loads(path.read_text()) for path in paths]
    for path, document in zip(paths, documents):
        path.unlink()
        more = {"workers": "default", "command": document["command"][:-2]}
        path.with_name(path.name.replace("-one-", "-default-")).write_text(json.dumps(document | more))
    junk = documents[0] | {"seconds": 2000.0, "exit_code": 1, "begun": documents[0]["begun"] - 4e7}
    junk |= {"ended": junk["begun"] + 2000.0, "machine": documents[0]["machine"] | {"boot": "another"}}
    paths[0].write_text(json.dumps(junk))
    for name, key in KEYS.items():
        both = [
            [json.loads(path.read_text())[name] for path in clone.paths(clone.baseline, each)]
            for each in ("default", "one")
        ]
        clone.cells(clone.baseline, key, "samples", lambda cells, both=both: [*both, *cells[2:]])
        clone.cells(clone.baseline, key, "result", lambda cells, both=both: [*map(median, both), *cells[2:]])


def a_sitting_that_is_spoilt(clone: Clone) -> None:
    """A day later v1.0 took a quarter of the time; one boolean, and that sitting does not count."""
    suite = {**json.loads(clone.paths(clone.candidate)[0].read_text())["suite"], "clean": False}
    known_to_asv(clone, clone.candidate, "default", again(clone, clone.candidate, "default", 86_400.0, suite=suite))
    known_to_asv(clone, clone.baseline, "one", again(clone, clone.baseline, "one", 86_400.0, seconds=60.0, suite=suite))


def a_quarter_of_all_times(clone: Clone) -> None:
    faster_than_its_own_stages(clone)

    def change(document: dict) -> None:
        for session in document["manifest"]["sessions"]:
            session["stage_seconds"] = {name: took / 4 for name, took in session["stage_seconds"].items()}

    clone.told(clone.candidate, change)


def stages_that_give_time_back(clone: Clone) -> None:
    """So that those of the run are no more than it took."""
    slower = {"rest": -26.0}
    faster_than_its_own_stages(clone)
    clone.told(clone.candidate, lambda document: document["manifest"]["sessions"][0]["stage_seconds"].update(slower))


def locked_clocks(clone: Clone) -> None:
    for side in ("baseline", "candidate"):
        gpu(side, sm_clock=1300.0)(clone)
        slowed(side, clocks_setting=1.0)(clone)


def a_low_clock_by_power(clone: Clone) -> None:
    gpu("baseline", sm_clock=600.0)(clone)
    slowed("baseline", power_cap=0.6)(clone)


def a_grafted_suite(clone: Clone) -> None:
    commit = clone.git("commit-tree", "HEAD^{tree}", "-m", "Nowhere")
    head, parent = clone.git("rev-parse", "HEAD", "HEAD^").split()
    (clone.repo / ".git" / "info" / "grafts").write_text(f"{head} {parent} {commit}\n")
    for side in (clone.baseline, clone.candidate):
        clone.told(side, lambda document: document["suite"].update(commit=commit))


def no_distinct_rows(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document["output"].pop("distinct"))


def results_twice(clone: Clone) -> None:
    (path,) = clone.results.glob(f"{clone.candidate[:8]}-*.json")
    path.write_text(path.read_text().replace('"results":', '"results": {}, "results":', 1))


def words_in_an_environment(clone: Clone) -> None:
    """Of a v1.0 that took a quarter of its time: a failure, whose table says where it was measured."""
    words = "x\nRatio 9.99, target 4.5: PASS"
    for side in (clone.baseline, clone.candidate):
        clone.told(side, lambda document: document.update(environment=words))
        clone.stored(side, lambda whole: whole.update(env_name=words))
    clone.rewritten(clone.baseline, "seconds", WALL, lambda x: x / 4)
    clone.told(clone.baseline, lambda document: document.update(ended=document["begun"] + document["seconds"]))


# --- found by a third review ------------------------------------------------------------------------------------------


def put_away(side: str, seconds: float, **change: dict | str) -> Callable[[Clone], None]:
    """Shortly after the others a run spoke against the claim; one word, and it is of no sitting."""

    def cheat(clone: Clone) -> None:
        commit, workers = {"v1.0": (clone.baseline, "one"), "HEAD": (clone.candidate, "default")}[side]
        document = json.loads(clone.paths(commit, workers)[-1].read_text())
        for name, value in change.items():
            document[name] = document[name] | value if isinstance(value, dict) else value
        begun = document["ended"] + 400.0
        document |= {"seconds": seconds, "begun": begun, "ended": begun + seconds}
        (clone.results / "evidence" / f"{commit[:8]}-put-away.jsonl").write_text(json.dumps(document))
        if "environment" not in change:
            known_to_asv(clone, commit, workers, [document])

    return cheat


def a_git_that_does_not_say(clone: Clone) -> None:
    """Whether a version tells its stages."""
    faster_than_its_own_stages(clone)
    clone.told(clone.candidate, lambda document: document["manifest"].update(sessions=[], performance={}))
    clone.git("config", "grep.threads", "-1")


def suite(**change: str) -> Callable[[Clone], None]:
    return lambda clone: clone.told(clone.candidate, lambda document: document["suite"].update(change))


def a_suite_of_before(clone: Clone) -> None:
    """Which would not tell distinct rows."""
    no_distinct_rows(clone)
    suite(commit=clone.baseline)(clone)


def a_readme_that_is(kind: str) -> Callable[[Clone], None]:
    def cheat(clone: Clone) -> None:
        path = clone.repo / "README.md"
        path.unlink()
        if kind == "folder":
            path.mkdir()
            (path / "x").touch()
        else:
            path.symlink_to("/dev/zero")
        clone.git("add", "--all", "README.md")
        clone.git("commit", "--quiet", "--message", "Cheat")

    return cheat


def without_the_slowest_run(clone: Clone) -> None:
    """Nor its samples, of what is judged."""
    the_slowest_run_is_gone(clone)
    for name in ("seconds", "error"):
        found = [json.loads(path.read_text())[name] for path in clone.paths(clone.candidate)]
        for column, value in (("samples", found), ("result", median(found))):
            clone.cells(clone.candidate, KEYS[name], column, lambda cells, value=value: [value, *cells[1:]])


def samples_that_were_not_repeated(clone: Clone) -> None:
    def fewer(whole: dict) -> None:
        whole["results"][WALL][whole["result_columns"].index("samples")][0].pop()

    clone.stored(clone.candidate, fewer)


def a_second_and_a_half(clone: Clone) -> None:
    clone.rewritten(clone.candidate, "seconds", WALL, lambda x: x - 1.5)


def no_clock_beside_a_low_one(clone: Clone) -> None:
    gpu("baseline", sm_clock=900.0)(clone)
    gpu("candidate", sm_clock=None)(clone)


def a_clock_without_end(clone: Clone) -> None:
    for path in clone.paths(clone.baseline):
        path.write_text(path.read_text().replace('"sm_clock": 1', '"sm_clock": 1e999, "x": 1'))


def another_run_on_its_gpu(clone: Clone) -> None:
    another_run_meanwhile(clone)
    path = max(clone.results.glob(f"evidence/{clone.baseline[:8]}-PredictReads-*.jsonl"))
    document = json.loads(path.read_text())
    document["machine"]["boot"] = "another"
    document["gpu"]["uuid"] = json.loads(clone.paths(clone.baseline)[-1].read_text())["gpu"]["uuid"]
    path.write_text(json.dumps(document))


def asvs_time(key: str, begun: float | None, took: float) -> Callable[[Clone], None]:
    """What asv says of a figure of the candidate's; begun: ms, or None for within v1.0's last run."""

    def cheat(clone: Clone) -> None:
        within = 1000 * (json.loads(clone.paths(clone.baseline)[-1].read_text())["begun"] + 30)

        def changed(whole: dict) -> None:
            if key not in whole["results"]:
                whole["results"][key] = list(whole["results"][WALL])
            whole["results"][key][3:5] = [int(within if begun is None else begun), took]

        not_of_the_last_run(clone)
        clone.stored(clone.candidate, changed)

    return cheat


def another_benchmark_meanwhile(clone: Clone) -> None:
    within = int(1000 * (json.loads(clone.paths(clone.baseline)[-1].read_text())["begun"] + 30))
    key = "steady.SteadyState.track_seconds_per_10k"
    clone.stored(clone.candidate, lambda whole: whole["results"][key].__setitem__(slice(3, 5), [within, 60.0]))


def manifest(*path: str, value: object, side: str = "candidate", only: int | None = None) -> Callable[[Clone], None]:
    """An entry of the run's own manifest; path: the names, from outside, on the way to it."""

    def change(document: dict) -> None:
        place = document["manifest"]
        for name in path[:-1]:
            place = place[-1] if name == "last" else place[name]
        place[path[-1]] = value

    return lambda clone: clone.told(getattr(clone, side), change, only=only)


def without(*path: str, side: str = "candidate") -> Callable[[Clone], None]:
    def change(document: dict) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return lambda clone: clone.told(getattr(clone, side), change)


def on_both_sides(cheat: Callable[[str], Callable[[Clone], None]]) -> Callable[[Clone], None]:
    return lambda clone: [cheat(side)(clone) for side in ("baseline", "candidate")]


def load(x: float) -> Callable[[Clone], None]:
    return lambda clone: clone.told(clone.baseline, lambda document: document.update(load=x))


def no_boot(side: str) -> Callable[[Clone], None]:
    return lambda clone: clone.told(getattr(clone, side), lambda document: document["machine"].update(boot=None))


def a_format_that_is_true(clone: Clone) -> None:
    clone.told(clone.candidate, lambda document: document.update(format=True))


def evidence_by_another_name(clone: Clone) -> None:
    path = clone.paths(clone.candidate)[0]
    path.rename(path.with_name(path.name.replace(clone.candidate[:8], "01234567")))


def evidence_by_a_link(clone: Clone) -> None:
    (clone.results / "evidence").rename(clone.repo / "evidence")
    (clone.results / "evidence").symlink_to(clone.repo / "evidence")


def a_gpu_twice(clone: Clone) -> None:
    path = clone.results / "machine.json"
    path.write_text(path.read_text().replace('"gpu":', '"gpu": "NVIDIA H200, driver 580", "gpu":'))


def a_workload_twice(clone: Clone) -> None:
    clone.cells(clone.candidate, WALL, "params", lambda cells: [["'gpu-10k'", "'gpu-10k'"], cells[1]])


def a_column_twice(clone: Clone) -> None:
    clone.stored(clone.candidate, lambda whole: whole["result_columns"].append("result"))


def words_in_a_precision(clone: Clone) -> None:
    """Of a v1.0 that took a quarter of its time: a failure, whose table says in what was computed."""
    clone.rewritten(clone.baseline, "seconds", WALL, lambda x: x / 4)
    clone.told(clone.baseline, lambda document: document.update(ended=document["begun"] + document["seconds"]))
    manifest("settings", "precision", value="fp16\u2028Ratio 9.99, target 4.5: PASS")(clone)


COUNTED = "counted to no sitting, speaks against it"
CHANGED = "and the package changed in"
CHEATS: list[tuple[Callable[[Clone], None], str, str]] = [
    (sleep, "sleep in the package", CHANGED),
    (no_command_line, "the command line deleted", CHANGED),
    (another_setup, "another setup.py", CHANGED),
    (relabelled, "results and evidence relabelled", "its files have other contents"),
    (relabelled_without_evidence, "results relabelled", "and the evidence is of 0"),
    (another_version, "another version", "the version is one of ['0.9.0', '1.0.0']"),
    (slower_baseline_code, "a slower baseline's code", "its files have other contents"),
    (moved_tag, "v1.0's tag moved", "v1.0: the tag is at"),
    (branch_of_that_name, "a branch v1.0", "v1.0: the branch is at"),
    (remote_branch_of_that_name, "a remote branch v1.0", "v1.0: the branch is at"),
    (name_known_to_git_alone, "a file .git/v1.0", "v1.0: git takes the name for"),
    (another_table, "another commit in the table", "not 1.0.0; correct benchmarks/releases.toml"),
    (no_time_at_all, "1e-9 s", "it took 1e-09 s, and from begin to end"),
    (faster_than_its_own_stages, "seconds divided by 4, everywhere", "its own manifest accounts for"),
    (slower_baseline, "baseline's seconds doubled, everywhere", "had no rest of 25 s"),
    (edited_median, "asv's median edited", "which is not the median of its samples"),
    (edited_samples, "asv's samples edited", "and the evidence is of"),
    (true, "true for seconds", "is no list of numbers"),
    (true_as_result, "true for a result", "which is not the median of its samples"),
    (null, "null for seconds", "HEAD failed: run it again"),
    (infinite_baseline, "infinity for the baseline", "Infinity is no number"),
    (skipped, "NaN for seconds", "HEAD (default workers) is skipped"),
    (only_the_best, "the best samples kept", "and the evidence is of"),
    (one_more, "a sample added", "and the evidence is of"),
    (no_samples, "no samples", "asv has no samples of its seconds"),
    (without_the_best_setting, "baseline without its best setting", "v1.0 (one worker) is skipped"),
    (without_the_default, "baseline without its default", "v1.0 (default workers) is skipped"),
    (another_version_of_the_benchmark, "another version of the benchmark", "which do not compare"),
    (another_environment, "another environment", "is not measured on nvidia-h100 in"),
    (error_of(1.41), "an error of 1.41", "its error is 1.41; at most"),
    (error_of(math.inf), "an infinite error", "Infinity is no number"),
    (error_of(math.nan), "an error that is no number", "NaN is no number"),
    (error_of(0.004), "an error over the bound, under v1.0's", "its error is 0.004; at most 0.00195"),
    (error_of(-1.0), "a negative error", "its error is -1; at most"),
    (error_edited_in_asvs_file, "asv's error edited", "which is not the median of its samples"),
    (error_null, "null for the error", "HEAD failed: run it again"),
    (error_absent, "no error", "asv has no figure of its error"),
    (baseline_error_enlarged, "both errors large", "its error is 1.41; at most"),
    (output(rows=64), "64 embeddings of 10,000", "its output has 64 rows of 10000"),
    (output(records=9_999), "a record lost", "its output has 9999 records of 10000"),
    (output(frames=9_000), "frames lost", "its output has 9000 frames of 10000"),
    (output(fates={"embedded": 9_000, "failed": 1_000}), "records that failed", "all 10000 were to be embedded"),
    (output(finite=False), "numbers that are not finite", "its output has numbers that are not finite"),
    (output(names_sha256="0" * 64), "other names", "The names of the rows differ"),
    (unfinished, "a run that did not end", "its manifest says 'partial'"),
    (fewer_proteins, "1,000 proteins", "its input is"),
    (other_proteins, "other proteins", "its input is"),
    (the_small_workload, "the small workload", "its input is"),
    (another_reading, "another input to the package", "The input as the package read it differ"),
    (a_smaller_model, "other weights", "The weights differ"),
    (a_slow_precision, "the baseline in FP32", "its precision is fp32, and v1.0 computes in bf16"),
    (gpu("candidate", name="NVIDIA B200"), "another GPU", "its GPU is NVIDIA B200, the machine's NVIDIA H100"),
    (gpu("baseline", gpus_used=2), "two GPUs for the baseline", "2 GPUs were in use"),
    (gpu("candidate", gpus_used=2), "two GPUs for the candidate", "2 GPUs were in use"),
    (gpu("baseline", power_limit=300.0), "a lowered power limit", "the GPU's power limit was 300.0 W"),
    (gpu("baseline", sm_clock=900.0), "a locked clock", "the baseline was slowed"),
    (gpu("baseline", other_processes=2), "others on the baseline's GPU", "2 other processes"),
    (gpu("baseline", memory_before=2**34), "a full GPU for the baseline", "16.0 GiB were on the GPU"),
    (gpu("baseline", driver="470.1"), "another driver", "The GPU differ"),
    (gpu("baseline", name="NVIDIA H100 PCIe"), "a slower GPU of a like name", "its GPU is NVIDIA H100 PCIe"),
    (slowed("baseline", heat=0.5), "a hot GPU for the baseline", "held down (heat) in 50 %"),
    (slowed("baseline", hardware=0.2), "a GPU that brakes", "held down (hardware) in 20 %"),
    (slowed("baseline", clocks_setting=1.0), "clocks that are set", "held down (clocks_setting) in 100 %"),
    (no_gpu, "a baseline on the CPU", "ran in no sitting that counts"),
    (relabelled_machine, "results as of another machine", "the machine's NVIDIA H200"),
    (busy, "a busy host for the baseline", "the load was 64.0 on"),
    (another_torch, "another torch", "The packages differ"),
    (no_rest, "no rest for the GPU", "had no rest of 25 s"),
    (two_sittings, "sides of two sittings", "ran in no sitting that counts"),
    (long_ago, "a run from before its commit", "it ran before its commit was made"),
    (none, "no evidence at all", "and the evidence is of 0"),
    (the_slowest_run_is_gone, "the slowest run's evidence removed", "and the evidence is of"),
    (a_run_that_asv_does_not_know, "evidence without a result", "and the evidence is of"),
    (not_of_the_last_run, "evidence of another time", "does not lie within the time that asv took"),
    (seconds_that_did_not_pass, "seconds that did not pass", "and from begin to end 1.000 s passed"),
    (changed_suite, "a suite with changes", "benchmarks/ was not as its commit has it"),
    (a_suite_that_nobody_has, "a suite that is not in the history", "a commit that is not in this history"),
    (no_json, "evidence cut off", "not evidence of a run"),
    (words_for_numbers, "words for numbers", "not evidence of a run"),
    (deep_json, "evidence that is all brackets", "not evidence of a run"),
    (evidence_without("gpu"), "a GPU without facts", "results or evidence are not whole"),
    (evidence_without("output"), "an output without counts", "results or evidence are not whole"),
    (evidence_without("machine", "suite"), "no machine and no suite", "results or evidence are not whole"),
    (evidence_without("manifest"), "no manifest", "results or evidence are not whole"),
    (words_for_a_load, "words for the processors", "results or evidence are not whole"),
    (a_list_for_settings, "a list for settings", "results or evidence are not whole"),
    (no_number_for_the_end, "NaN for the end", "NaN is no number"),
    (the_end_of_time, "an end in no year", "not evidence of a run"),
    (asvs_time_without_end, "an endless time of asv's", "duration is inf"),
    (fewer_processors, "fewer processors for the baseline", "The number of processors differ"),
    (variables, "a variable for the baseline", "were set otherwise in some of the runs"),
    (another_command, "another command", "--batch-tokens 1; python -m virnucpro"),
    (workers_of_the_other_setting, "the other setting's command", "--workers-per-gpu 1 was expected"),
    (a_run_that_failed, "a run that failed", "its exit code was 1"),
    (a_resumed_run, "a resumed run", "in 2 sessions"),
    (no_session, "a run without a session", "in 0 sessions"),
    (a_small_model_by_its_manifest, "a small model", "its model is esm2_t6_8M_UR50D"),
    (another_build("setup.cfg"), "a setup.cfg", CHANGED),
    (another_build("pyproject.toml"), "a pyproject.toml", CHANGED),
    (no_readme, "no README for setup.py", "HEAD was not measured"),
    (a_suite_beside_the_history, "a suite beside the history", "a commit that is not in this history"),
    (another_run_meanwhile, "another run meanwhile", "had no rest of 25 s"),
    (a_machine_of_any_gpu, "a machine of any GPU", "the machine's None"),
    (two_files_of_a_commit, "two files of a commit", "another file has the same commit"),
    (names_that_stand_there_twice, "seconds twice", "names stand there twice: ['seconds'"),
    (compiled_code, "compiled code in the package", "its files have other contents"),
    (rows_that_repeat, "rows that repeat", "its output has 65 distinct rows of 10000"),
    (no_regular_file, "a pipe for evidence", "it is no regular file"),
    (a_link, "a link for evidence", "it is no regular file"),
    (large_numbers, "a number without a float", "a number of 401 digits"),
    (a_deep_machine, "a machine that is all brackets", "results or evidence are not whole"),
    (gpu("candidate", name="X\nRatio 9, target 4.5: PASS"), "words in a name", "its GPU is X Ratio 9"),
    (a_later_format, "evidence of a later format", "not evidence of a run"),
    (another_build("build/lib/sitecustomize.py"), "a build/ of setuptools", CHANGED),
    (another_build("x.egg-info/entry_points.txt"), "commands for setuptools", CHANGED),
    (another_build(".gitattributes"), "another encoding", CHANGED),
    (another_build("tabulate.py"), "a module at the root", CHANGED),
    (a_readme_that_cannot_be_read, "a README for no setup.py", "HEAD was not measured"),
    (a_slow_run_of_a_stand_in, "a slow run without asv's file", "asv has no figure of its seconds"),
    (a_best_setting_that_is_junk, "a best setting that is junk", "v1.0 (one worker) ran in no sitting that counts"),
    (a_sitting_that_is_spoilt, "a sitting that is spoilt", "of a sitting that was left out (60.0 and"),
    (a_quarter_of_all_times, "a quarter of all times", "which is not between its begin and its end"),
    (stages_that_give_time_back, "stages that give time back", "its own manifest accounts for"),
    (locked_clocks, "locked clocks for both", "held down (clocks_setting) in 100 %"),
    (a_low_clock_by_power, "a low clock by power", "the baseline was slowed"),
    (gpu("baseline", default_power_limit=None), "a power limit beside none", "the GPU's power limit was 700.0 W; None"),
    (a_grafted_suite, "a grafted suite", "a commit that is not in this history"),
    (no_distinct_rows, "rows that are not compared", "its output has None distinct rows"),
    (results_twice, "results twice", "names stand there twice: ['results'"),
    (words_in_an_environment, "words in an environment", "x?Ratio?9.99??target?4.5??PASS"),
    (a_table_that_nobody_committed, "a table that nobody committed", "has changes that are not committed"),
    (put_away("v1.0", 60.0, machine={"boot": "another"}), "a fast v1.0 of another start", COUNTED),
    (put_away("v1.0", 60.0, gpu={"uuid": "GPU-another"}), "a fast v1.0 of another GPU", COUNTED),
    (put_away("v1.0", 60.0, suite={"tree": "another"}), "a fast v1.0 of another suite", COUNTED),
    (put_away("HEAD", 200.0, environment="another"), "a slow run in another environment", COUNTED),
    (a_git_that_does_not_say, "a git that does not say", "invalid number of threads"),
    (a_suite_of_before, "a suite of before", "it was measured by benchmarks/"),
    (suite(tree="x"), "a suite of no tree", "it was measured by benchmarks/ x, and that of commit"),
    (a_readme_that_is("folder"), "a folder for a README", "HEAD was not measured"),
    (a_readme_that_is("link"), "a link for a README", "HEAD was not measured"),
    (without_the_slowest_run, "the slowest run removed from all that is judged", "of its gpu memory"),
    (samples_that_were_not_repeated, "a sample removed", "samples, and was repeated"),
    (a_second_and_a_half, "a second and a half", "s, and from begin to end"),
    (no_clock_beside_a_low_one, "no clock beside a low one", "MHz in these runs: some are none"),
    (a_clock_without_end, "a clock without end", "1e999 is no number that is finite"),
    (another_run_on_its_gpu, "another run on its GPU", "had no rest of 25 s"),
    (another_benchmark_meanwhile, "another benchmark meanwhile", "asv measured steady.SteadyState"),
    (asvs_time(WALL, 1, 1e13), "a row of asv's from 1970 on", "does not lie within the time that asv took"),
    (asvs_time(f"{BENCHMARK}.x", 1, 1e13), "an invented row of asv's", "does not lie within the time that asv took"),
    (manifest("fates", value={"embedded": 64}), "other fates by its manifest", "its own manifest has, for fates"),
    (manifest("counts", "failed", value=9936), "failures by its manifest", "has, for failures, 9936; 0 was"),
    (manifest("input", "records", value=64), "64 records by its manifest", "has, for records, 64; 10000 was"),
    (manifest("input", "files", value={}), "no files by its manifest", "has, for input, {}"),
    (manifest("weights", value={"esm2_t6_8M_UR50D.pt": "0"}), "a small model's weights", "has, for weights"),
    (manifest("performance", "sequences", value=64), "64 proteins computed", "has, for sequences computed, 64"),
    (manifest("kept", value=True), "files that are kept", "has, for intermediate files kept, True"),
    (manifest("backends", "device", value="NVIDIA B200"), "another device by its manifest", "has, for device, NVIDIA"),
    (manifest("sessions", "last", "command", value="virnucpro predict x.fa"), "another command by its manifest",
     "has, for command, virnucpro predict x.fa"),
    (manifest("sessions", "last", "packages", value={"torch": "2.12.0"}), "other packages by its manifest",
     "has, for packages, {'torch': '2.12.0'}"),
    (manifest("sessions", "last", "finished", value="2026-01-01T00:00:00+00:00"), "an end before the begin",
     "an end before its begin"),
    (manifest("settings", "batch_residues", value=1, side="baseline", only=-1), "a v1.0 in small batches",
     "differ in the settings that their own manifests have"),
    (without("manifest", "settings", "precision"), "no precision", "its precision is None: of no kind"),
    (without("package", "strangers"), "no word of compiled code", "its files have other contents"),
    (on_both_sides(lambda side: without("weights", "sha256", side=side)), "weights without a digest", "or no sha256"),
    (on_both_sides(no_boot), "no start of the machine", "it does not say which start of the machine"),
    (on_both_sides(lambda side: gpu(side, driver="")), "no driver", "it does not say which driver"),
    (on_both_sides(lambda side: gpu(side, name="N")), "a GPU of one letter", "its GPU is N, the machine's"),
    (gpu("baseline", memory_before=None), "no word of what was on the GPU", "or what was on it before"),
    (slowed("baseline", heat=-0.5), "less than no heat", "no share of it"),
    (load(-1.0), "less than no load", "the load was -1.0 on"),
    (load(15.9), "a host that is nearly busy", "the load was 15.9 on"),
    (error_of(1e-300), "no error to speak of", "its error is 1e-300; at most"),
    (a_format_that_is_true, "true for a format", "not evidence of a run"),
    (evidence_by_another_name, "evidence by another name", "not evidence of a run"),
    (evidence_by_a_link, "evidence by a link", "is a link, perhaps to another machine's"),
    (a_gpu_twice, "a GPU twice", "names stand there twice: ['gpu']"),
    (a_workload_twice, "a workload twice", "params has a value twice"),
    (a_column_twice, "a column twice", "a column stands there twice"),
    (words_in_a_precision, "words in a precision", "fp16 Ratio 9.99, target 4.5: PASS"),
]  # fmt: skip


@pytest.mark.parametrize("cheat, words", [pytest.param(cheat, words, id=name) for cheat, name, words in CHEATS])
def test_a_cheat_is_caught(clone, capsys, cheat, words):
    cheat(clone)
    code, said = judged(clone, capsys)
    assert code == 1 and words in said
    assert not any(line.endswith(": PASS") for line in said.splitlines() if line.startswith("Ratio"))


def test_a_copy_of_the_results_under_another_name_is_of_another_gpu(clone, capsys):
    shutil.copytree(clone.results, clone.repo / "results" / ELSEWHERE)
    for path in [
        *(clone.repo / "results" / ELSEWHERE).glob("*-*.json"),
        clone.repo / "results" / ELSEWHERE / "machine.json",
    ]:
        path.write_text(path.read_text().replace(f'"machine": "{MACHINE}"', f'"machine": "{ELSEWHERE}"'))
    path.write_text(path.read_text().replace("NVIDIA H100", "NVIDIA B200"))
    code, said = judged(clone, capsys, "--machine", ELSEWHERE)
    assert code == 1 and "the machine's NVIDIA B200" in said


def test_a_copy_of_the_results_is_of_no_other_machine(clone, capsys):
    test_a_copy_of_the_results_under_another_name_is_of_another_gpu(clone, capsys)
    code, said = judged(clone, capsys)
    assert code == 1 and f"runs lie in the folders of {MACHINE} and of {ELSEWHERE}" in said


@pytest.mark.parametrize("name", ["v2.0", "v2.0^{}", "v2.0~0", "tags/v2.0", "refs/tags/v2.0", "HEAD"])
def test_no_name_leads_round_a_tag_that_is_moved(clone, capsys, name):
    clone.git("tag", "--force", "v2.0", clone.candidate)
    code, said = judged(clone, capsys, "--candidate", name)
    assert code == 1 and "v2.0: the tag is at" in said


def test_a_change_beside_the_package_is_no_other_package(clone, capsys):
    (clone.repo / "README.md").write_text("Read me.\n")
    clone.git("commit", "--quiet", "--all", "--message", "Say less")
    code, said = judged(clone, capsys)
    assert code == 0 and f"was not measured itself; {clone.candidate[:8]} was, whose virnucpro/ and setup.py" in said


def test_nothing_of_the_package_that_is_judged_runs(clone):
    """Nor does what lies at the root, wherever the standard library is looked for first."""
    shutil.copytree(ROOT / "benchmarks", clone.repo / "benchmarks", dirs_exist_ok=True)
    for name in ("platform.py", "virnucpro/__init__.py", "virnucpro/cli.py"):
        clone_file = clone.repo / name
        clone_file.write_text("import os\n\nprint('Ratio 9, target 4.5: PASS', flush=True)\nos._exit(0)\n")
    clone.git("add", "platform.py", "virnucpro", "benchmarks")
    clone.git("commit", "--quiet", "--message", "Cheat")
    command = [sys.executable, "-m", "benchmarks.check_speedup", "--strict", "--machine", MACHINE]
    done = subprocess.run(command, cwd=clone.repo, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 1 and CHANGED in done.stderr
    assert done.stdout == ""


def test_a_full_disk_for_what_is_printed_changes_no_exit_code(clone):
    command = [
        sys.executable,
        "-m",
        "benchmarks.check_speedup",
        "--strict",
        "--machine",
        MACHINE,
        "--candidate",
        clone.candidate,
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--json", clone.repo / "x.json"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=HANG,
        )
    assert (done.returncode, done.stderr) == (0, "What is printed cannot be written: No space left on device.\n")
