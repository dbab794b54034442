"""The checker of the claim, in a toy repository: what it says, writes and returns, and of what it says nothing.

Commits of the toy: v1.0, v2.0, "fast" (another package), and HEAD, which only adds a README. Measured: fast and v1.0 in
turn. tests/test_cheats.py tries to talk it round.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import toy_suite
from conftest import ROOT
from surroundings import HANG

from benchmarks import check_speedup, workloads
from benchmarks.support import claims, conditions, evidence, verdict
from benchmarks.support.nearest import nearest
from benchmarks.support.results import Results, Value
from virnucpro.reporting.decisions import REQUIREMENTS, branch

MACHINE = "toy"
WALL = "commands.EmbedProteins.track_wall_seconds"


@dataclass(frozen=True)
class Toy:
    """The repository, and the hashes of its history."""

    repo: Path
    first: str
    second: str
    fast: str
    head: str

    def measure(
        self,
        seconds: list[float],
        machine: str = MACHINE,
        keep: bool = False,
        once: tuple[str, float] = ("default", 260.0),
        often: tuple[str, float] = ("one", 240.0),
    ) -> list[dict]:
        """Runs of the fast commit and of v1.0 in turn, a second more for v1.0 each time, after one of v1.0 with its
        other setting; replaces what was there, or not."""
        if not keep:
            shutil.rmtree(self.repo / "results" / machine, ignore_errors=True)
        runs = [(self.first, *once)]
        for number, each in enumerate(seconds):
            runs += [(self.fast, "default", each), (self.first, often[0], often[1] + number)]
        begun = toy_suite.BEGUN + (machine != MACHINE) * 864_000  # another machine at another time
        return toy_suite.turns(self.repo, machine, runs, begun=begun)

    def runs(self, machine: str = MACHINE) -> list[dict]:
        """What is there of evidence."""
        return evidence.load(self.repo / "results" / machine)

    def change(self, commit: str, change: Callable[[dict], object], machine: str = MACHINE) -> None:
        """In the file of a commit's results."""
        (path,) = (self.repo / "results" / machine).glob(f"{commit[:8]}-*.json")
        whole = json.loads(path.read_text())
        change(whole)
        path.write_text(json.dumps(whole))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    repo = tmp_path_factory.mktemp("claim") / "toy"
    commits = toy_suite.make(repo)
    (repo / "README.md").write_text("Read me.\n")
    toy_suite.git(repo, "add", "README.md")
    toy_suite.git(repo, "commit", "--quiet", "--message", "Say what this is")
    return Toy(repo, commits["v1.0"], commits["v2.0"], commits["HEAD"], toy_suite.git(repo, "rev-parse", "HEAD"))


@pytest.fixture
def toy(made: Toy, tmp_path: Path) -> Toy:
    """A copy of its own, measured: 240, 241, 242 s against 30, 31, 32."""
    repo = tmp_path / "toy"
    shutil.copytree(made.repo, repo)
    copy = Toy(repo, made.first, made.second, made.fast, made.head)
    copy.measure([30.0, 31.0, 32.0])
    return copy


@pytest.fixture
def check(toy: Toy, capsys: pytest.CaptureFixture) -> Callable:
    """Run the checker: exit code, standard output, standard error, and what it wrote."""

    def check(*arguments: str, repo: Path = toy.repo) -> tuple[int, str, str, dict]:
        file = repo / "speedup_comparison.json"
        file.write_text('{"verdict": "of an earlier run"}')
        code = check_speedup.main([*arguments, "--json", str(file)], repo)
        printed = capsys.readouterr()
        return code, printed.out, printed.err, json.loads(file.read_text())

    return check


def tables(toy: Toy, verdict: str) -> str:
    """What is printed up to what is not judged."""
    return f"""\
gpu-10k on toy, {toy_suite.ENV}
v1.0 ({toy.first[:8]}) was measured itself.
HEAD ({toy.head[:8]}) was not measured itself; {toy.fast[:8]} was, whose virnucpro/ and setup.py are the same. 1 commit between.

                                                     v1.0                                    v2.0+1
---------------  ----------------------------------------  ----------------------------------------
commit           {toy.first}  {toy.fast}
architecture                                            a                                         a
precision                                               p                                         p
packing                                                 k                                         k
runs                                                    3                                         3
sequences                                          10,000                                    10,000
seconds, median                                    241.00                                     31.00
seconds, least                                     240.00                                     30.00
seconds, most                                      242.00                                     32.00
sequences/s                                         41.49                                    322.58
hours for 6 M                                       40.17                                      5.17
hours saved                                                                                   35.00
largest error                                     4.0e-07                                   4.0e-07
GPU                                           NVIDIA H100                               NVIDIA H100
SM clock, MHz                                    1,980.00                                  1,400.00

  pair    v1.0, one worker, s    HEAD, s    ratio
------  ---------------------  ---------  -------
     1                 240.00      30.00     8.00
     2                 241.00      31.00     7.77
     3                 242.00      32.00     7.56

labelled chunks, on    AUROC of v1.0    of v2.0+1    labels of float32, %
---------------------  ---------------  -----------  ----------------------
toy                             0.8500       0.8500                  100.00

{verdict}
"""  # noqa: E501


def test_all_that_is_printed_when_the_target_is_met(toy, check):
    code, out, err, _ = check()
    assert (code, err) == (0, "")
    wanted = tables(toy, "Ratio 7.78, with 95 % between 7.56 and 8.00 (3 pairs); target 4.5: PASS")
    shown = out.splitlines()[: len(wanted.splitlines())]
    assert [line.split() for line in shown] == [line.split() for line in wanted.splitlines()]


@pytest.mark.parametrize("least, word, code", [
    ("7.55", "PASS", 0), ("7.57", "AMBIGUOUS", 1), ("7.99", "AMBIGUOUS", 1), ("8.01", "FAIL", 1),
])  # fmt: skip
def test_the_lower_bound_is_judged(check, least, word, code):
    found, out, _, said = check("--min-ratio", least)
    assert (found, said["verdict"]) == (code, word)
    assert f"target {least}: {word}" in out
    for line in branch(REQUIREMENTS["speedup"]):
        assert (line in out) == (word != "PASS")


def test_what_is_written(toy, check):
    *_, said = check()
    assert {key: said[key] for key in ("verdict", "target", "machine", "env", "workload", "workers")} == {
        "verdict": "PASS", "target": 4.5, "machine": MACHINE, "env": toy_suite.ENV, "workload": "gpu-10k",
        "workers": "one",
    }  # fmt: skip
    assert said["interval"] == pytest.approx([242 / 32, 8.0])
    assert said["pairs"] == [[240.0, 30.0], [241.0, 31.0], [242.0, 32.0]]
    assert said["asked"] == [
        {"revision": "v1.0", "commit": toy.first, "measured": [toy.first], "between": 0},
        {"revision": "HEAD", "commit": toy.head, "measured": [toy.fast], "between": 1},
    ]
    assert said["candidate"] == {
        "version": "v2.0+1", "commit": toy.fast, "architecture": "a", "precision": "p", "packing": "k", "runs": 3,
        "num_sequences": 10_000, "elapsed_sec": 31.0, "fastest_sec": 30.0, "slowest_sec": 32.0,
        "sequences_per_sec": pytest.approx(322.58, abs=0.01), "projected_6M_hours": pytest.approx(5.1667, abs=1e-4),
        "error": 4e-7, "gpu": "NVIDIA H100", "sm_clock": 1400.0, "hours_saved": pytest.approx(35.0),
    }  # fmt: skip


def test_the_best_setting_of_the_baseline_counts(toy, check):
    toy.measure([30.0, 31.0, 32.0], once=("one", 260.0), often=("default", 240.0))
    assert check()[3]["workers"] == "default"


def test_a_faster_setting_that_was_run_once_counts_by_as_much(toy, check):
    toy.measure([30.0, 31.0, 32.0], once=("one", 200.0), often=("default", 240.0))
    _, _, _, said = check()
    share = 200.0 / 241.0  # of the medians
    assert said["workers"] == "default"
    assert said["pairs"] == [pytest.approx([share * (240.0 + number), 30.0 + number]) for number in range(3)]


def test_all_measured_commits_of_a_package_count(toy, check):
    """An empty commit on top of a slow one, measured until it is fast."""
    toy.measure([56.0, 57.0, 58.0])
    assert check("--candidate", toy.fast)[3]["verdict"] == "FAIL"
    year = toy.runs()
    runs = [(toy.first, "default", 260.0)]
    for each in (50.0, 51.0, 52.0):
        runs += [(toy.head, "default", each), (toy.first, "one", 241.0)]
    now = toy_suite.turns(toy.repo, MACHINE, runs, begun=toy_suite.BEGUN + 1e6)
    toy_suite.store(toy.repo, MACHINE, [*year, *now], {})
    code, _, _, said = check()
    assert (code, said["verdict"], len(said["pairs"])) == (1, "AMBIGUOUS", 6)


def test_slow_runs_in_a_row_weigh_in_the_medians(toy, check):
    runs = [(toy.first, "default", 260.0)]
    for each in (50.0, 50.0, 50.0, 50.0, 50.0):
        runs += [(toy.fast, "default", each), (toy.first, "one", 250.0)]
    runs += [(toy.fast, "default", 60.0)] * 10 + [(toy.first, "one", 250.0)]
    shutil.rmtree(toy.repo / "results" / MACHINE)
    toy_suite.turns(toy.repo, MACHINE, runs)
    code, out, _, _ = check()
    assert code == 1 and "The medians of all runs are 250.0 and 60.0 s: less than the target." in out


@pytest.mark.parametrize("seconds, pairs", [([30.0], 1), ([30.0, 31.0], 2)])
def test_few_pairs_are_not_judged(toy, check, seconds, pairs):
    toy.measure(seconds)
    code, out, err, said = check()
    assert (code, out, said["verdict"]) == (77, "", "NOT MEASURED")
    assert err == (
        f"NOT MEASURED: {pairs} pairs of runs of HEAD and v1.0 (one worker, its best) in one sitting; at least 3 are "
        "judged.\n"
    )
    assert check("--strict")[0] == 1


def test_a_commit_whose_package_is_another_is_not_measured(toy, check):
    (toy.repo / "virnucpro" / "__main__.py").write_text("import time; time.sleep(1000)\n")
    toy_suite.git(toy.repo, "add", "virnucpro")
    toy_suite.git(toy.repo, "commit", "--quiet", "--message", "Sleep")
    message = (
        f"NOT MEASURED: HEAD was not measured on toy (gpu-10k): the nearest that was is {toy.fast[:8]}, and the "
        "package changed in 1 of the commits since then; measure it there: docs/benchmarks.md.\n"
    )
    assert check("--machine", MACHINE)[:3] == (77, "", message)
    assert check("--machine", MACHINE, "--strict")[:3] == (1, "", message)


def test_the_nearest_measured_commit(toy):
    """The candidate or what stands for it; else one before it that is not the baseline's."""
    question = verdict.Question(toy.repo, toy.repo / "results", MACHINE)
    assert nearest(question) == "HEAD"
    (toy.repo / "setup.py").write_text("# another\n")
    toy_suite.git(toy.repo, "commit", "--quiet", "--all", "--message", "Build otherwise")
    assert nearest(question) == toy.fast
    for path in (toy.repo / "results" / MACHINE).rglob(f"{toy.fast[:8]}-*"):
        path.unlink()
    assert nearest(question) is None


@pytest.mark.parametrize("seconds, beside, claimed", [(53.0, False, False), (53.4, False, True), (53.0, True, True)])
def test_of_a_commit_that_ran_without_the_baseline_nothing_is_claimed(toy, seconds, beside, claimed):
    """Unless it is too slow against the baseline's fastest run, of 240 s, wherever that was."""
    (toy.repo / "setup.py").write_text("# another\n")
    toy_suite.git(toy.repo, "commit", "--quiet", "--all", "--message", "Build otherwise")
    head = toy_suite.git(toy.repo, "rev-parse", "HEAD")
    runs = [(head, "default", seconds), *[(toy.first, "one", 242.0)] * beside]
    toy_suite.turns(toy.repo, MACHINE, runs, begun=toy_suite.BEGUN + 100_000)
    question = verdict.Question(toy.repo, toy.repo / "results", MACHINE)
    assert nearest(question) == ("HEAD" if claimed else toy.fast)


def test_a_release_that_was_not_measured_is_no_candidate(toy, check):
    assert check("--candidate", "v2.0", "--machine", MACHINE)[:2] == (77, "")


def test_a_baseline_that_was_not_measured(toy, check):
    for path in (toy.repo / "results" / MACHINE).rglob(f"{toy.first[:8]}-*"):
        path.unlink()
    code, _, err, _ = check("--machine", MACHINE)
    assert code == 77 and err.startswith(
        "NOT MEASURED: v1.0 was not measured on toy (gpu-10k): nor was any commit before"
    )


def test_evidence_alone_is_no_measurement(toy, check):
    for path in (toy.repo / "results" / MACHINE).glob(f"{toy.first[:8]}-*"):
        path.unlink()
    code, _, err, _ = check("--machine", MACHINE)
    assert code == 77 and err.startswith("NOT MEASURED: v1.0 (default workers) is not measured on toy in")


def test_a_setting_of_the_baseline_that_was_not_measured(toy, check):
    toy.change(toy.first, lambda whole: whole["results"][WALL][0].__setitem__(0, float("nan")))
    code, _, err, _ = check()
    assert (
        code == 77 and err == f"NOT MEASURED: v1.0 (default workers) is skipped on toy in {toy_suite.ENV} (gpu-10k).\n"
    )


def test_figures_of_two_environments_do_not_compare(toy, check):
    toy.change(toy.first, lambda whole: whole.update(env_name="toy-py2.7"))
    code, _, err, _ = check()
    assert code == 77 and "v1.0 (default workers) is not measured on toy in " in err


def test_figures_of_two_versions_do_not_compare(toy, check):
    toy.change(toy.fast, lambda whole: whole["results"][WALL].__setitem__(2, "2"))
    message = "FAIL: The benchmark has versions 1 and 2, which do not compare: run both again.\n"
    assert check()[:3] == (1, "", message)


def test_a_run_that_is_in_no_pair_and_speaks_against_it_makes_it_ambiguous(toy, check):
    runs = [(toy.first, "default", 260.0)]
    for each in (30.0, 31.0, 32.0):
        runs += [(toy.fast, "default", each), (toy.first, "one", 240.0)]
    shutil.rmtree(toy.repo / "results" / MACHINE)
    alone = toy_suite.run(toy.repo, toy.fast, "default", 90.0, "gpu-10k", toy_suite.BEGUN - 86_400)
    documents = toy_suite.turns(toy.repo, MACHINE, runs)
    toy_suite.write(toy.repo / "results" / MACHINE / "evidence" / f"{toy.fast[:8]}-alone.jsonl", alone)
    toy_suite.store(toy.repo, MACHINE, [alone, *documents], {})
    code, out, _, said = check()
    assert (code, said["verdict"]) == (1, "AMBIGUOUS")
    assert "A run that is in no pair (90.0 s, 2030-" in out


def test_another_sitting_decides_nothing_today(toy, check):
    """v1.0 was measured beside v2.0 once, with another driver and a busy host, and now beside a later commit."""
    runs = [(toy.first, "default", 262.0)]
    for number in range(3):
        runs += [(toy.second, "default", 40.0), (toy.first, "one", 245.0 + number)]
    year = toy_suite.turns(toy.repo, MACHINE, runs, begun=toy_suite.BEGUN - 3e7)
    for run in year:
        run["gpu"]["driver"], run["load"] = "470.1", 99.0
        moment = f"{run['commit'][:8]}-{run['workers']}-{run['begun']:.0f}"
        toy_suite.write(toy.repo / "results" / MACHINE / "evidence" / f"{moment}.jsonl", run)
    now = toy.measure([30.0, 31.0, 32.0], keep=True)
    toy_suite.store(toy.repo, MACHINE, [*year, *now], {})
    code, _, _, said = check()
    assert (code, said["pairs"]) == (0, [[240.0, 30.0], [241.0, 31.0], [242.0, 32.0]])
    code, _, err, _ = check("--candidate", "v2.0", "--machine", MACHINE)
    assert code == 1 and "the load was 99.0" in err
    assert (
        check("--candidate", "v1.0")[2]
        == "NOT MEASURED: v1.0 and v1.0 have one package: there is nothing to compare.\n"
    )


def test_on_a_cpu_five_pairs_are_needed_and_one_setting(toy, check):
    runs = [(toy.fast, "default", 8.0), (toy.first, "default", 60.0)] * 5
    toy_suite.turns(toy.repo, "cpu", runs, "cpu-small")
    code, out, _, said = check("--workload", "cpu-small", "--min-ratio", "3", "--machine", "cpu")
    assert (code, said["ratio"], len(said["pairs"])) == (0, pytest.approx(7.5), 5)
    assert "target 3: PASS" in out
    toy_suite.turns(toy.repo, "cpu", runs[2:], "cpu-small", begun=toy_suite.BEGUN + 9e5)
    shutil.rmtree(toy.repo / "results" / "cpu")
    toy_suite.turns(toy.repo, "cpu", runs[2:], "cpu-small")
    assert check("--workload", "cpu-small", "--machine", "cpu")[0] == 77


def test_without_any_results(toy, check):
    message = f"NOT MEASURED: There are no results in {toy.repo / 'nowhere'}; run `asv run` first.\n"
    assert check("--results", str(toy.repo / "nowhere"))[:3] == (77, "", message)


def test_without_the_tag(toy, check):
    """A clone of a clone in which nobody made the tags; the table knows the commit."""
    with_it = check()
    toy_suite.git(toy.repo, "tag", "--delete", "v1.0")
    assert check() == with_it and with_it[0] == 0


def test_without_the_revision(check):
    message = "NOT MEASURED: This clone has no v9.9; check the name, or run `git fetch --tags`.\n"
    assert check("--candidate", "v9.9")[:3] == (77, "", message)


def test_in_a_shallow_clone(toy, check, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", toy.repo.as_uri(), clone], check=True)
    shutil.copytree(toy.repo / "benchmarks", clone / "benchmarks")
    shutil.copytree(toy.repo / "results", clone / "results")
    message = "NOT MEASURED: This clone has no v1.0; this clone is shallow: run `git fetch --unshallow --tags`.\n"
    assert check(repo=clone)[:3] == (77, "", message)


def test_a_folder_that_cannot_be_looked_into_is_a_bad_request(toy, tmp_path, capsys):
    arguments = ["--results", "x" * 300, "--json", str(tmp_path / "said.json")]
    assert check_speedup.main(arguments, toy.repo) == 2
    assert capsys.readouterr().err.startswith("BAD REQUEST: [Errno 36] File name too long")


def test_what_is_not_committed_is_said_not_to_be_judged(toy, check):
    (toy.repo / "setup.py").write_text("# builds something else\n")
    code, out, _, _ = check()
    assert code == 0 and "virnucpro/ or setup.py has changes that are not committed: they are not judged.\n" in out


def test_of_several_machines_one_is_chosen(toy, check, monkeypatch):
    toy.measure([60.0, 60.0, 60.0], "other")
    message = "BAD REQUEST: Both sides were measured on other, toy: choose with --machine.\n"
    assert check()[:3] == (2, "", message)
    assert check("--machine", "other")[3]["verdict"] == "FAIL"
    monkeypatch.setattr("platform.node", lambda: "other")
    assert check()[3]["machine"] == "other"
    monkeypatch.undo()
    toy.measure([60.0], "other")
    assert check()[3]["machine"] == MACHINE  # the other has too few pairs
    assert check("--machine", "third")[2].startswith("NOT MEASURED: v1.0 was not measured on third (gpu-10k), nor")


def checked(toy: Toy, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    """The checker in a process of its own."""
    code = "import sys; from pathlib import Path; from benchmarks import check_speedup; "
    code += "from benchmarks.support.output import outlive_readers; outlive_readers(); "
    code += "sys.exit(check_speedup.main(sys.argv[2:], Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(toy.repo), *arguments]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=HANG, **options)


def test_a_reader_that_has_enough_gets_the_verdict_as_exit_code(toy, tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = checked(toy, "--json", str(tmp_path / "x.json"), stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "x.json").read_text())["verdict"] == "PASS"


def test_a_pipe_gets_the_json_and_stays_one(toy, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert check_speedup.main(["--json", str(pipe)], toy.repo) == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert json.loads(os.read(reader, 100_000))["verdict"] == "PASS"
    os.close(reader)


def test_the_json_may_follow_the_tables(toy):
    buffering = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = checked(toy, "--json", "/dev/stdout", stdout=subprocess.PIPE, env=buffering)
    assert done.returncode == 0
    assert json.loads(done.stdout[done.stdout.index("\n{") :])["verdict"] == "PASS"


@pytest.mark.parametrize("place", ["", "file/x.json", "full"])
def test_a_json_file_that_cannot_be_written_is_a_bad_request(toy, tmp_path, capsys, place):
    """A folder, a file where a folder has to be, a full disk: said in one line, when all else is printed."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").symlink_to("/dev/full")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert check_speedup.main(["--json", str(tmp_path / place)], toy.repo) == 2
    out, err = capsys.readouterr()
    assert "target 4.5: PASS" in out
    assert err.startswith(f"BAD REQUEST: --json {tmp_path / place} cannot be written (")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["--min-ratio", "nan"], ["--min-ratio", "0"], ["--workload", "20k"], ["HEAD"]])
def test_a_bad_request(check, arguments):
    with pytest.raises(SystemExit, match="2"):
        check(*arguments)


@pytest.mark.parametrize("change, found", [
    (lambda whole: whole.update(version=3), "version 3 of machine toy"),
    (lambda whole: whole["params"].update(machine="other"), "version 2 of machine other"),
    (lambda whole: whole.pop("results"), "KeyError: 'results'"),
    (lambda whole: whole["results"][WALL][0].pop(), "3 results for 4 combinations of parameters"),
    (lambda whole: whole["results"][WALL][0].__setitem__(0, "29 s"), "is '29 s'"),
    (lambda whole: whole["results"][WALL][0].__setitem__(0, 10**400), "a number was expected"),
    (lambda whole: whole["results"].update({WALL: {}}), f"{WALL} is {{}}, not of type list"),
    (lambda whole: whole["results"][WALL].__setitem__(5, 7), "samples is 7, not of type list"),
    (lambda whole: whole["results"][WALL].__setitem__(5, [[1.0]]), "1 lists of samples for 4 combinations"),
    (lambda whole: whole["results"][WALL][5].__setitem__(0, [True]), "samples: [True] is no list of numbers"),
    (lambda whole: whole.update(date="now"), "date is 'now', not of type int"),
    (lambda whole: whole.update(commit_hash="../.."), "commit_hash is '../..'"),
    (lambda whole: whole.update(env_name=7), "env_name is 7, not of type str"),
    (lambda whole: whole["results"].update({WALL: [None, [["a"] * 1000] * 5]}), "combinations of parameters"),
])  # fmt: skip
def test_a_file_that_is_not_asvs_fails(toy, check, change, found):
    toy.change(toy.fast, change)
    code, out, err, _ = check("--machine", MACHINE)
    assert (code, out) == (1, "")
    assert err.startswith("FAIL: ")
    assert found in err


def test_values_keep_failed_skipped_and_absent_apart(toy):
    toy.change(toy.fast, lambda whole: whole["results"][WALL].__setitem__(0, [31.0, None, float("nan"), 1.0]))
    found = Results.load(toy.repo / "results").of(MACHINE, toy.fast)
    env = toy_suite.ENV
    assert found.value(WALL, "gpu-10k", "default") == Value("measured", 31.0, "1", env, (30.0, 31.0, 32.0))
    assert found.value(WALL, "gpu-10k", "one") == Value("failed", None, "1", env)
    assert found.value(WALL, "cpu-small", "default") == Value("skipped", None, "1", env)
    assert found.value(WALL, "gpu-20k", "default") == found.value("start_up.StartUp.track_help_seconds") == Value()


def test_the_checkers_words_are_those_of_the_suite():
    """It imports no benchmark, so that it stays small; what it names is there."""
    from benchmarks import ablation, commands, peers
    from benchmarks.support import gpu, inputs, tables

    assert tuple(ablation.STEPS)[: len(tables.WATERFALL)] == tables.WATERFALL
    assert tuple(peers.PEERS) == tables.PEERS
    assert {name: getattr(commands, name).kind for name in tables.COMMANDS} == tables.KINDS
    for name, files in conditions.INPUTS.items():
        assert files.items() <= inputs.WORKLOADS[name].files.items()
    assert [*verdict.WORKERS] == [*verdict.LEAST_PAIRS] == [*conditions.INPUTS] == [*inputs.WORKLOADS]
    for claim in claims.CLAIMS.values():
        judged, slow = (getattr(commands, name.split(".")[1]) for name in (claim.benchmark, claim.against))
        assert (judged.kind, judged.precision) == (claim.kind, claim.precision)
        assert (slow.kind, slow.precision) == (claim.kind, "")
        assert {*claim.errors} == {*judged.params[0]} and judged.version == slow.version
    assert {name: work.esm_model for name, work in inputs.WORKLOADS.items()} == conditions.MODELS
    assert set(gpu.SLOWED_BY) >= conditions.SLOWED_BY


@pytest.mark.parametrize("name", ["proteins-10k", "proteins-small", "reads-10k", "contigs-10k"])
def test_the_output_that_is_expected_is_what_the_input_has(name):
    from benchmarks.support import reference

    workload = workloads.WORKLOADS[name]
    sequences = [sequence for _, sequence in workload.generator(workload.count)]
    records, rows, _ = conditions.output_of(name)
    assert len(sequences) == records
    if "proteins" not in name:
        chunks = [chunk for dna in sequences for chunk in reference.chunks(dna)]
        sequences = [frame for chunk in chunks for frame in reference.open_frames(chunk)]
    assert len(sequences) == rows


@pytest.mark.parametrize("workload", ["gpu-10k", "cpu-small"])
def test_the_command_that_is_expected_is_that_of_the_suite(tmp_path, monkeypatch, workload):
    from benchmarks import commands
    from benchmarks.support import inputs

    work, kind = inputs.WORKLOADS[workload], {"gpu-10k": "proteins-10k", "cpu-small": "proteins-small"}[workload]
    monkeypatch.setenv("VIRNUCPRO_BENCH_CACHE", str(tmp_path))
    (tmp_path / f"weights-v{inputs.WEIGHTS_VERSION}-{work.esm_model}").mkdir()
    found = ["python", *commands.predict(work, tmp_path / f"{kind}.faa", tmp_path / "out")[1:]]
    assert evidence.without_places(found) == toy_suite.command(kind, workload, "default")


# --- the other claims -------------------------------------------------------------------------------------------------


def test_the_claims():
    found = {claim.name: (claim.at_least, claim.errors, claim.no_worse) for claim in claims.CLAIMS.values()}
    assert found == {
        "proteins": (4.5, {"gpu-10k": 2**-9, "cpu-small": 2**-18}, True),
        "proteins-int8": (11.0, {"gpu-10k": 0.05}, False),
        "reads-int8": (5.2, {"gpu-10k": 0.05}, False),
        "contigs-int8": (3.75, {"gpu-10k": 0.05}, False),
    }
    assert verdict.Question.claim == claims.THE_CLAIM and claims.THE_CLAIM.at_least == verdict.TARGET == 4.5


def test_the_documentation_has_the_claims():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for claim in claims.CLAIMS.values():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{claim.name}`")]
        assert f"| `{claim.benchmark}` |" in row and f"| {claim.at_least:g} " in row


def measure_int8(toy: Toy, command: str, int8: list[float], usual: float = 30.0) -> None:
    """A round each: HEAD in its own precision, in 8 bits, and v1.0, whose run is half of both pairs."""
    shutil.rmtree(toy.repo / "results" / MACHINE)
    runs = [(toy.first, "default", 260.0, command)]
    for seconds in int8:
        runs += [(toy.fast, "default", usual, command), (toy.fast, "default", seconds, f"{command}Int8")]
        runs += [(toy.first, "one", 240.0, command)]
    toy_suite.turns(toy.repo, MACHINE, runs)


@pytest.mark.parametrize("claim, command, target", [
    ("proteins-int8", "EmbedProteins", 11), ("reads-int8", "PredictReads", 5.2),
    ("contigs-int8", "PredictContigs", 3.75),
])  # fmt: skip
def test_a_claim_in_8_bits_is_judged_in_pairs_with_the_same_runs_of_v1(toy, check, claim, command, target):
    measure_int8(toy, command, [20.0, 20.0, 20.0])
    code, out, err, said = check("--claim", claim)
    assert (code, err, said["claim"], said["pairs"]) == (0, "", claim, [[240.0, 20.0]] * 3)
    assert out.startswith(f"== {claim}: commands.{command}Int8, {target} times as fast as v1.0\n")
    assert f"Ratio 12.00, with 95 % between 12.00 and 12.00 (3 pairs); target {target}: PASS" in out
    assert said["candidate"]["precision"] == "int8" and said["baseline"]["precision"] == "p"
    measure_int8(toy, command, [20.0, 20.0, 240.0 / target + 0.1])
    assert check("--claim", claim)[3]["verdict"] == "AMBIGUOUS"


def test_the_first_claim_is_what_it_was_beside_runs_in_8_bits(toy, check):
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0])
    code, out, _, said = check()
    assert (code, said["claim"], said["pairs"]) == (0, "proteins", [[240.0, 30.0]] * 3)
    assert out.startswith("gpu-10k on toy") and "target 4.5: PASS" in out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("embed proteins in 8 bits: v1.0, one")]
    assert row[-3:] == ["240.00", "20.00", "12.00"]
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0], usual=60.0)
    assert check()[3]["verdict"] == "FAIL" and check("--claim", "proteins-int8")[3]["verdict"] == "PASS"


def test_what_is_reported_beside_a_verdict_has_the_floors_of_each_precision(toy, check):
    key, names = "steady.SteadyInt8.track_{}seconds_per_10k", ("floor_", "")

    def measured(whole: dict) -> None:
        for name, seconds in zip(names, (9.0, 12.0), strict=True):
            whole["results"][key.format(name)][0] = [seconds, seconds / 2]  # proteins, frames

    toy.change(toy.fast, measured)
    rows = [line.split() for line in check()[1].splitlines() if "warm, " in line]
    wanted = ["10K proteins, warm, INT8: the matrix products alone 9.00 12.00 0.75",
              "10K frames of 166 residues, warm, INT8: the matrix products alone 4.50 6.00 0.75"]  # fmt: skip
    assert rows == [row.split() for row in wanted]


def test_a_claim_without_results_is_not_measured_yet(toy, check):
    """That v1.0 has skipped it is no result."""
    message = (
        "NOT MEASURED: proteins-int8 is not measured yet on toy (gpu-10k): there is nothing of "
        "commands.EmbedProteinsInt8.\n"
    )
    code, out, err, said = check("--claim", "proteins-int8")
    assert (code, err, said["verdict"]) == (77, message, "NOT MEASURED") and out.count("\n") == 1
    assert check("--claim", "proteins-int8", "--strict")[0] == 1


def test_the_nearest_commit_that_was_measured_in_8_bits(toy):
    claim = claims.CLAIMS["proteins-int8"]
    question = verdict.Question(toy.repo, toy.repo / "results", MACHINE, target=claim.at_least, claim=claim)
    assert nearest(question) is None
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0])
    assert nearest(question) == "HEAD"
    (toy.repo / "setup.py").write_text("# another\n")
    toy_suite.git(toy.repo, "commit", "--quiet", "--all", "--message", "Build otherwise")
    assert nearest(question) == toy.fast
    head = toy_suite.git(toy.repo, "rev-parse", "HEAD")
    for number, (seconds, found) in enumerate([(21.8, toy.fast), (21.9, "HEAD")], 1):  # 240 s by 11 are 21.82
        runs, begun = [(head, "default", seconds, "EmbedProteinsInt8")], toy_suite.BEGUN + number * 100_000
        toy_suite.turns(toy.repo, MACHINE, runs, begun=begun)
        assert nearest(question) == found


def test_nothing_else_is_measured_beside_runs_in_8_bits(toy, check):
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0])
    key, within = "steady.SteadyState.track_seconds_per_10k", int(1000 * toy.runs()[-1]["begun"])  # v1.0's last run
    toy.change(toy.fast, lambda whole: whole["results"][key].__setitem__(slice(3, 5), [within, 60.0]))
    code, out, err, _ = check("--claim", "proteins-int8")
    assert code == 1 and "asv measured steady.SteadyState" in out + err


def test_of_all_claims_the_worst_is_the_exit_code(toy, check):
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0])
    code, out, err, said = check("--claim", "all")
    assert code == 77 and err.count("is not measured yet") == 2 and out.count(": PASS") == 2
    words = {name: answer["verdict"] for name, answer in said["claims"].items()}
    assert words == {"proteins": "PASS", "proteins-int8": "PASS"} | {f"{x}-int8": "NOT MEASURED" for x in KINDS}
    assert (said["verdict"], said["claim"], said["target"]) == ("PASS", "proteins", 4.5)
    measure_int8(toy, "EmbedProteins", [40.0, 40.0, 40.0])
    assert check("--claim", "all")[0] == 1
    assert check("--claim", "all", "--workload", "cpu-small")[3]["claims"].keys() == {"proteins"}


KINDS = ("reads", "contigs")


@pytest.mark.parametrize("arguments, said", [
    (["--claim", "proteins-int8", "--workload", "cpu-small"], "--claim proteins-int8 is of no run of cpu-small."),
    (["--claim", "all", "--min-ratio", "3"], "--min-ratio is of one claim: name it with --claim."),
    (["--claim", "twice"], "invalid choice: 'twice'"),
])  # fmt: skip
def test_what_cannot_be_claimed_is_a_bad_request(toy, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        check_speedup.main(arguments, toy.repo)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def error(run: dict, x: float) -> None:
    run["error"] = x


WRONG = [  # in the evidence of the candidate's runs: command, what is changed, what is said
    ("EmbedProteins", lambda run: error(run, 0.06), "its error is 0.06; at most 0.05 is allowed (the bound), and no"),
    ("EmbedProteins", lambda run: error(run, 0.0), "its error is 0; at most 0.05 is allowed"),
    ("PredictReads", lambda run: error(run, 0.06), "its error is 0.06; at most 0.05"),
    ("EmbedProteins", lambda run: run["manifest"]["settings"].update(precision="fp16"),
     "its precision is fp16, and the command that was asked for computes in int8"),
    ("EmbedProteins", lambda run: run["command"].__setitem__(-1, "fp16"), "--precision int8 was expected"),
    ("PredictContigs", lambda run: run["output"].update(rows=64), "its output has 64 rows of 10184"),
    ("PredictContigs", lambda run: run["output"].update(records=1500), "its output has 1500 records of 1522"),
    ("PredictReads", lambda run: run["output"].update(fates={"failed": 10_000}), "all 10000 were to be scored"),
    ("PredictReads", lambda run: run["manifest"].update(weights={"esm2_t36_3B_UR50D.pt": "0"}), "has, for weights"),
    ("PredictReads", lambda run: run["input"].update(name="proteins-10k"), "its input is"),
    ("EmbedProteins", lambda run: run["output"].update(distinct=65), "its output has 65 distinct rows of 10000"),
    ("EmbedProteins", lambda run: run.update(load=64.0), "the load was 64.0"),
]  # fmt: skip


@pytest.mark.parametrize("command, change, said", WRONG)
def test_what_has_to_hold_of_a_run_has_to_hold_in_8_bits(toy, check, command, change, said):
    measure_int8(toy, command, [20.0, 20.0, 20.0])
    documents = toy.runs()
    for run in documents:
        if run["benchmark"] == f"commands.{command}Int8":
            change(run)
    for path in (toy.repo / "results" / MACHINE / "evidence").iterdir():
        path.unlink()
    for number, run in enumerate(documents):
        toy_suite.write(path.with_name(f"{run['commit'][:8]}-{number}.jsonl"), run)
    toy_suite.store(toy.repo, MACHINE, documents, {})
    name = {"EmbedProteins": "proteins", "PredictReads": "reads", "PredictContigs": "contigs"}[command]
    code, out, err, _ = check("--claim", f"{name}-int8")
    assert code == 1 and said in out + err


# --- accuracy ---------------------------------------------------------------------------------------------------------


def accuracy(toy: Toy, commit: str, figure: str, value: float | None, name: str = "Accuracy", **more: str) -> None:
    """Change what was measured of it on a GPU."""

    def changed(whole: dict) -> None:
        row = whole["results"][f"accuracy.{name}.track_{figure}"]
        row[0][0], row[5][0] = value, None if value is None else [value]
        row[2] = more.get("version", row[2])

    toy.change(commit, changed)


FAILED = "HEAD on toy: a figure of its accuracy, or of the baseline's, failed or is missing: measure it again."
NOT_A_NUMBER = float("nan")  # how asv stores what was skipped
LESS = [  # figure of the candidate, its value, verdict, what is said
    ("auroc", 0.845, "PASS", None),
    ("auroc", 0.8449, "FAIL", "HEAD on toy: its AUROC is 0.0051 below the baseline's; at most 0.005 is allowed."),
    ("auroc", 1.2, "FAIL", "HEAD on toy: an AUROC is not from 0 to 1: measure it again."),
    ("auroc", None, "FAIL", FAILED),
    ("agreement", 99.0, "PASS", None),
    ("agreement", 98.9, "FAIL",
     "HEAD on toy: 98.9 % of the labelled chunks have the label of float32; at least 99 % are asked for."),
    ("agreement", 100.5, "FAIL",
     "HEAD on toy: 100.5 % of the labelled chunks have the label of float32; at least 99 % are asked for."),
    ("agreement", None, "FAIL", FAILED),
    ("auroc", NOT_A_NUMBER, "FAIL", FAILED),
    ("agreement", NOT_A_NUMBER, "FAIL", FAILED),
    ("auroc", float("inf"), "FAIL", "HEAD on toy: an AUROC is not from 0 to 1: measure it again."),
]  # fmt: skip


@pytest.mark.parametrize("figure, value, word, said", LESS)
def test_a_faster_commit_that_classifies_worse_fails(toy, check, figure, value, word, said):
    accuracy(toy, toy.fast, figure, value)
    code, out, _, found = check()
    assert (code, found["verdict"]) == ({"PASS": 0, "FAIL": 1}[word], word)
    assert said is None or said in out.splitlines()


def test_of_8_bits_their_own_accuracy_counts(toy, check):
    measure_int8(toy, "EmbedProteins", [20.0, 20.0, 20.0])
    accuracy(toy, toy.fast, "auroc", 0.8, name="AccuracyInt8")
    assert check()[3]["verdict"] == "PASS" and check("--claim", "proteins-int8")[3]["verdict"] == "FAIL"


def skip_accuracy(toy: Toy, *commits: str) -> None:
    for commit in commits:
        for figure in ("auroc", "agreement"):
            accuracy(toy, commit, figure, NOT_A_NUMBER)


def test_accuracy_beside_the_baseline_on_another_machine_is_enough(toy, check):
    toy.measure([30.0, 31.0, 32.0], machine="elsewhere")
    skip_accuracy(toy, toy.first, toy.fast)
    code, out, _, said = check("--machine", MACHINE)
    assert (code, said["accuracy"]) == (0, [["elsewhere", "0.8500", "0.8500", "100.00"]])
    (row,) = [line.split() for line in out.splitlines() if line.startswith("elsewhere ")]
    assert row == ["elsewhere", "0.8500", "0.8500", "100.00"]
    key = "accuracy.Accuracy.track_auroc"
    toy.change(toy.first, lambda whole: whole["results"][key].__setitem__(2, "2"), "elsewhere")
    code, out, _, _ = check("--machine", MACHINE)
    assert code == 1 and "HEAD on elsewhere: figures of accuracy have versions 1 and 2: measure both again." in out


@pytest.mark.parametrize("figure, value, said", [
    ("agreement", 50.0, "HEAD on toy: 50 % of the labelled chunks have the label of float32"),
    ("auroc", None, FAILED), ("auroc", NOT_A_NUMBER, FAILED),
])  # fmt: skip
def test_a_bad_figure_counts_where_the_baseline_has_none(toy, check, figure, value, said):
    toy.measure([30.0, 31.0, 32.0], machine="elsewhere")
    skip_accuracy(toy, toy.first)
    code, out, _, found = check("--machine", MACHINE)
    assert code == 0 and found["accuracy"][1] == ["toy", "not measured", "0.8500", "100.00"]
    accuracy(toy, toy.fast, figure, value)
    code, out, _, _ = check("--machine", MACHINE)
    assert code == 1 and said in out


def test_without_accuracy_a_fast_commit_is_not_measured(toy, check):
    skip_accuracy(toy, toy.fast)
    code, out, _, said = check("--machine", MACHINE)
    assert (code, said["verdict"]) == (77, "NOT MEASURED")
    assert (
        "It is fast enough, and whether it is as accurate is not known: accuracy.Accuracy of HEAD and "
        "accuracy.Accuracy of v1.0 were measured on no machine together (gpu-10k)."
    ) in out.splitlines()
    toy.measure([56.0, 57.0, 58.0])
    skip_accuracy(toy, toy.fast)
    assert check()[3]["verdict"] == "FAIL"
