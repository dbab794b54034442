"""The checker of the claim, on files that asv itself wrote about a toy repository, and on damaged copies of them.

The toy's figures are written in its commits: "Release 1.0.0" (measured), "Release 2.0.0", "Faster" (measured), and
"Not measured", which is HEAD.
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
from conftest import ROOT
from surroundings import HANG

from benchmarks import check_speedup
from benchmarks.results import Results, Value
from virnucpro.utils.decisions import REQUIREMENTS, branch

ENV = f"toy-py{sys.version_info.major}.{sys.version_info.minor}"
WALL = "commands.EmbedProteins.track_wall_seconds"
CONFIGURATION = {
    "version": 1, "project": "toy", "repo": ".", "branches": ["main"], "environment_type": "toy",
    "pythons": [ENV.removeprefix("toy-py")], "plugins": [".toy_environment"], "env_dir": ".asv/env",
    "build_command": [], "uninstall_command": [],
    "install_command": [
        "in-dir={build_dir} python -c "
        "\"import shutil, sysconfig; shutil.copy('toy.py', sysconfig.get_path('purelib'))\""
    ],
}  # fmt: skip
PLUGIN = '''"""An asv environment that needs no network: the one requirement, asv_runner, is found where asv runs."""
from pathlib import Path

import asv_runner
from asv.plugins.virtualenv import Virtualenv


class Toy(Virtualenv):
    tool_name = "toy"

    def _install_requirements(self):
        site = self.run_executable("python", ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        Path(site, "asv_runner.pth").write_text(str(Path(asv_runner.__file__).parents[1]))
'''
BASE = '''"""A figure is what toy.py says; one that it does not name is a skip, None a failure."""
import toy


class Base:
    version = "1"

    def setup(self, *params):
        if params not in toy.FIGURES.get(type(self).__name__, {}):
            raise NotImplementedError("not in toy.py")

    def figure(self, params, index=0):
        found = toy.FIGURES[type(self).__name__][params][index]
        if found is None:
            raise RuntimeError("fails")
        return found
'''
COMMANDS = '''"""Whole commands."""
from benchmarks.base import Base


class Command(Base):
    params = (["gpu-10k", "cpu-small"], ["default", "one"])
    param_names = ("workload", "workers")

    def track_wall_seconds(self, *params):
        return self.figure(params)


class EmbedProteins(Command):
    def track_start_temperature(self, *params):
        return self.figure(params, 1)

    def track_hottest(self, *params):
        return self.figure(params, 2)

    def track_sm_clock(self, *params):
        return self.figure(params, 3)


class PredictReads(Command):
    pass


class PredictContigs(Command):
    pass


del Command
'''
WARM = '''"""{name}."""
from benchmarks.base import Base


class {name}(Base):
    params = {params}

    def track_seconds_per_10k(self, *params):
        return self.figure(params)
'''
SLOW = {
    "EmbedProteins": {
        ("gpu-10k", "default"): (230.2, 31, 62, 1980),
        ("gpu-10k", "one"): (406.0, 31, 60, 1980),
        ("cpu-small", "default"): (20.0, 0, 0, 0),
    },
    "PredictReads": {("gpu-10k", "default"): (69.3,), ("gpu-10k", "one"): (None,)},
    "PredictContigs": {("gpu-10k", "default"): (61.0,), ("gpu-10k", "one"): (122.4,)},
}
ABLATION = {"padded fp32": 812.0, "padded bf16": 204.0, "padded fp16": 206.5, "packed fp16": 21.5}
UNEAGER = {"packed fp16, eager, synchronous loader": 54.0, "packed fp16, eager": 49.0}
FAST = {
    "EmbedProteins": {
        ("gpu-10k", "default"): (29.0, 33, 64, 1965),
        ("gpu-10k", "one"): (29.0, 33, 64, 1965),
        ("cpu-small", "default"): (16.0, 0, 0, 0),
    },
    "PredictReads": {("gpu-10k", "default"): (18.2,), ("gpu-10k", "one"): (18.2,)},
    "PredictContigs": {("gpu-10k", "default"): (24.0,), ("gpu-10k", "one"): (24.0,)},
    "SteadyState": {("gpu-10k",): (21.0,)},
    "Ablation": {("gpu-10k", step): (seconds,) for step, seconds in (ABLATION | UNEAGER).items()},
    "Peers": {("gpu-10k", "fair-esm"): (84.0,)},
}


@dataclass(frozen=True)
class Toy:
    """The repository with its results, and the hashes of its history."""

    repo: Path
    first: str
    second: str
    third: str
    head: str


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Measured once by asv itself, as the machine "toy"."""
    repo = tmp_path_factory.mktemp("toy")
    suite = repo / "benchmarks"
    suite.mkdir()
    steps = [*(ABLATION | UNEAGER), "packed bf16"]
    texts = {
        "__init__": "", "base": BASE, "commands": COMMANDS,
        "steady": WARM.format(name="SteadyState", params=["gpu-10k"]),
        "ablation": WARM.format(name="Ablation", params=(["gpu-10k"], steps)),
        "peers": WARM.format(name="Peers", params=(["gpu-10k"], ["fair-esm", "transformers"])),
    }  # fmt: skip
    for module, text in texts.items():
        (suite / f"{module}.py").write_text(text)
    (repo / "toy_environment.py").write_text(PLUGIN)
    (repo / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    environment = os.environ | {"HOME": str(repo / "home"), "PIP_NO_INDEX": "1"}
    commits: list[str] = []
    author = ["-c", "user.name=T", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True)
        allowed = (0, 2) if "asv" in command else (0,)  # 2: a figure failed
        assert done.returncode in allowed, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(figures: dict, message: str) -> str:
        (repo / "toy.py").write_text(f"FIGURES = {figures}\n")
        run("git", "add", "toy.py")
        commits.append(message)
        date = f"2026-01-01T00:00:{len(commits):02}Z"  # commits of the same second have no order by date
        environment.update(GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
        run("git", *author, "commit", "--quiet", "--allow-empty", "--message", message)
        return run("git", "rev-parse", "HEAD")

    run("git", "init", "--quiet", "--initial-branch=main")
    first, second, third, head = (
        commit(figures, message)
        for figures, message in zip(
            (SLOW, FAST, FAST, FAST), ("Release 1.0.0", "Release 2.0.0", "Faster", "Not measured"), strict=True
        )
    )
    run("git", "tag", "v1.0", first)
    rows = [
        ("v1.0", "1.0.0", first, "several worker processes per GPU", "BF16", "padded batches"),
        ("v2.0", "2.0.0", second, "one process per GPU", "FP16", "packed"),
    ]
    names = ("tag", "version", "commit", "architecture", "precision", "packing")
    table = [[f'{name} = "{value}"' for name, value in zip(names, row)] for row in rows]
    (suite / "releases.toml").write_text("\n".join("\n".join(["[[release]]", *row]) for row in table))
    asv = (sys.executable, "-m", "asv")
    described = ["--os", "o", "--arch", "a", "--cpu", "c", "--num_cpu", "1", "--ram", "r"]
    run(*asv, "machine", "--machine", "toy", *described)
    (repo / "hashes").write_text(f"{first}\n{third}\n")
    run(*asv, "run", "--machine", "toy", "HASHFILE:hashes")
    return Toy(repo, first, second, third, head)


@pytest.fixture
def toy(measured: Toy, tmp_path: Path) -> Toy:
    """A copy to be damaged."""
    repo = tmp_path / "toy"
    shutil.copytree(measured.repo, repo, ignore=shutil.ignore_patterns(".asv", "home"))
    return Toy(repo, measured.first, measured.second, measured.third, measured.head)


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


def damage(toy: Toy, commit: str, change: Callable[[dict], None], machine: str = "toy") -> None:
    """Change the file of a commit's results."""
    (path,) = (toy.repo / "results" / machine).glob(f"{commit[:8]}-*.json")
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))


def set_seconds(seconds: float | str | None) -> Callable[[dict], None]:
    return lambda whole: whole["results"][WALL][0].__setitem__(0, seconds)


def set_version(whole: dict) -> None:
    whole["results"][WALL][whole["result_columns"].index("version")] = "2"


def copy_machine(toy: Toy, name: str) -> None:
    folder = shutil.copytree(toy.repo / "results" / "toy", toy.repo / "results" / name)
    for path in folder.glob("*-*.json"):
        path.write_text(path.read_text().replace('"machine": "toy"', f'"machine": "{name}"'))


def tables(toy: Toy, verdict: str) -> str:
    """All that is printed of the undamaged results, up to the first steps."""
    return f"""\
gpu-10k on toy, {ENV}
HEAD ({toy.head[:8]}) was not measured; its nearest ancestor that was: {toy.third[:8]}
Commits since then that touch the package, whose effect is not in these figures: 0

                                                     v1.0                                    v2.0+1
---------------  ----------------------------------------  ----------------------------------------
commit           {toy.first}  {toy.third}
architecture             several worker processes per GPU                       one process per GPU
precision                                            BF16                                      FP16
packing                                    padded batches                                    packed
sequences                                          10,000                                    10,000
seconds                                            230.20                                     29.00
sequences/s                                         43.44                                    344.83
hours for 6 M                                       38.37                                      4.83
hours saved                                                                                   33.53
GPU at start, C                                     31.00                                     33.00
GPU hottest, C                                      62.00                                     64.00
SM clock, MHz                                    1,980.00                                  1,965.00

Ratio 7.938, {verdict}

step by step (v1.0: padded bf16)          s per 10K    s less
--------------------------------------  -----------  --------
padded fp32                                  812.00
padded bf16                                  204.00    608.00
padded fp16                                  206.50     -2.50
packed fp16, eager, synchronous loader        54.00    152.50
packed fp16, eager                            49.00      5.00
packed fp16                                   21.50     27.50

reported, not judged                     s    v2.0+1, s    ratio
---------------------------------  -------  -----------  -------
embed proteins: v1.0, one worker    406.00        29.00    14.00
predict reads: v1.0                  69.30        18.20     3.81
predict reads: v1.0, one worker     failed        18.20
predict contigs: v1.0                61.00        24.00     2.54
predict contigs: v1.0, one worker   122.40        24.00     5.10
10K proteins, warm: fair-esm         84.00        21.00     4.00
10K proteins, warm: transformers   skipped        21.00

"""


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_all_that_is_printed_when_the_target_is_met(toy, check):
    code, out, err, _ = check()
    assert (code, err) == (0, "")
    assert stripped(out) == stripped(tables(toy, "target 4.500: PASS"))


def test_all_that_is_printed_when_it_is_not(toy, check):
    code, out, err, said = check("--min-ratio", "7.94")
    assert (code, err, said["verdict"]) == (1, "", "FAIL")
    between = "  The commits between: asv run {0}..{1}; asv compare {0} {1}".format(toy.first[:8], toy.third[:8])
    first_steps = "\n".join(["First steps:", *branch(REQUIREMENTS["speedup"]), between])
    assert stripped(out) == stripped(tables(toy, "target 7.940: FAIL") + first_steps)


def test_what_is_written(toy, check):
    *_, said = check()
    assert {key: said[key] for key in ("verdict", "target", "machine", "env", "workload")} == {
        "verdict": "PASS", "target": 4.5, "machine": "toy", "env": ENV, "workload": "gpu-10k"
    }  # fmt: skip
    assert said["ratio"] == pytest.approx(230.2 / 29.0)
    assert said["candidate"] == {
        "version": "v2.0+1", "commit": toy.third, "architecture": "one process per GPU", "precision": "FP16",
        "packing": "packed", "num_sequences": 10_000, "elapsed_sec": 29.0,
        "sequences_per_sec": pytest.approx(344.83, abs=0.01), "projected_6M_hours": pytest.approx(4.8333, abs=1e-4),
        "start_temperature": 33, "hottest": 64, "sm_clock": 1965, "hours_saved": pytest.approx(33.5333, abs=1e-4),
    }  # fmt: skip
    assert said["baseline"]["version"] == "v1.0"
    assert said["breakdown"][2] == ["padded fp16", 206.5, -2.5]
    assert said["reported"][1] == ["predict reads: v1.0", 69.3, 18.2, pytest.approx(3.8077, abs=1e-4)]


def test_a_candidate_that_was_measured_stands_for_itself(toy, check):
    code, out, *_ = check("--candidate", toy.third)
    assert code == 0
    assert "not measured" not in out


def test_a_machine_without_a_gpu_shows_its_ratio(check):
    code, out, _, said = check("--workload", "cpu-small", "--min-ratio", "0")
    assert (code, said["ratio"]) == (0, 1.25)
    assert "Ratio 1.250, target 0.000: PASS" in out
    assert check("--workload", "cpu-small")[0] == 1


@pytest.mark.parametrize("side", ["first", "third"])
@pytest.mark.parametrize(
    "seconds, found",
    [(None, "failed"), (float("inf"), "inf"), (float("-inf"), "-inf"), (0, "0.0"), (-29.0, "-29.0")],
)
def test_what_is_no_time_fails(toy, check, side, seconds, found):
    commit = getattr(toy, side)
    damage(toy, commit, set_seconds(seconds))
    reason = f"{commit[:8]} is {found} in {ENV}; seconds were expected: run it again."
    stopped = {"verdict": "FAIL", "reason": reason, "ratio": None, "target": 4.5}
    assert check() == (1, "", f"FAIL: {reason}\n", stopped)


def test_where_everything_failed_the_claim_does(toy, check):
    damage(toy, toy.third, lambda whole: whole["results"][WALL].__setitem__(0, None))
    assert check()[:3] == (1, "", f"FAIL: {toy.third[:8]} is failed in {ENV}; seconds were expected: run it again.\n")


def test_figures_of_two_environments_do_not_compare(toy, check):
    damage(toy, toy.first, lambda whole: whole.update(env_name="toy-py2.7"))
    message = f"FAIL: {toy.first[:8]} is not measured in {ENV}; seconds were expected: run it again.\n"
    assert check()[:3] == (1, "", message)


def test_figures_of_two_versions_do_not_compare(toy, check):
    damage(toy, toy.third, set_version)
    message = "FAIL: The benchmark has versions 1 and 2, which do not compare: run both again.\n"
    assert check()[:3] == (1, "", message)


def test_of_two_environments_the_one_measured_last_counts(toy, check):
    (path,) = (toy.repo / "results" / "toy").glob(f"{toy.third[:8]}-*.json")
    other = json.loads(path.read_text()) | {"env_name": "older"}
    set_seconds(1.0)(other)
    other["results"][WALL][other["result_columns"].index("started_at")] -= 1
    path.with_name(f"{toy.third[:8]}-older.json").write_text(json.dumps(other))
    assert check()[3]["ratio"] == pytest.approx(7.938, abs=1e-3)


@pytest.mark.parametrize(
    "change, found",
    [
        (set_seconds("29 s"), "is '29 s'"),
        (lambda whole: whole.update(version=3), "version 3 of machine toy"),
        (lambda whole: whole["params"].update(machine="other"), "version 2 of machine other"),
        (lambda whole: whole.pop("results"), "KeyError: 'results'"),
        (lambda whole: whole["results"][WALL][0].pop(), "3 results for 4 combinations of parameters"),
        (set_seconds(10**400), "a number was expected"),
        (lambda whole: whole["results"].update({WALL: {}}), f"{WALL} is {{}}, not of type list"),
        (lambda whole: whole.update(date="now"), "date is 'now', not of type int"),
        (lambda whole: whole.update(commit_hash="../.."), "commit_hash is '../..'"),
        (lambda whole: whole.update(env_name=7), "env_name is 7, not of type str"),
        (lambda whole: whole["results"].update({WALL: [None, [["a"] * 1000] * 5]}), "combinations of parameters"),
    ],
)
def test_a_file_that_is_not_asvs_fails(toy, check, change, found):
    damage(toy, toy.third, change)
    code, out, err, _ = check()
    assert (code, out) == (1, "")
    assert err.startswith("FAIL: ")
    assert found in err


@pytest.mark.parametrize("side, revision", [("first", "v1.0"), ("third", "HEAD")])
def test_what_was_skipped_is_unavailable(toy, check, side, revision):
    commit = getattr(toy, side)
    damage(toy, commit, set_seconds(float("nan")))
    cure = f"run `asv run '{revision}^!'` there.\n"
    message = f"{revision} is skipped at {commit[:8]} on toy (gpu-10k); {cure}"
    code, out, err, said = check()
    assert (code, out, err, said["verdict"]) == (77, "", f"SKIPPED: {message}", "SKIPPED")
    code, out, err, said = check("--strict")
    assert (code, out, err, said["verdict"]) == (1, "", f"FAIL: {message}", "FAIL")


@pytest.mark.parametrize(
    "side, message",
    [
        ("first", "v1.0 is not measured on toy (gpu-10k); run `asv run 'v1.0^!'` there."),
        (
            "third",
            "HEAD is not measured, like all before it up to v1.0, on toy (gpu-10k); run `asv run 'HEAD^!'` there.",
        ),
    ],
)
def test_what_was_not_measured_is_unavailable(toy, check, side, message):
    for path in (toy.repo / "results" / "toy").glob(f"{getattr(toy, side)[:8]}-*"):
        path.unlink()
    assert check()[:3] == (77, "", f"SKIPPED: {message}\n")
    assert check("--strict")[:3] == (1, "", f"FAIL: {message}\n")


def test_the_baseline_is_not_its_own_candidate(check):
    message = "v1.0 is not measured, like all before it up to v1.0, on toy (gpu-10k); run `asv run 'v1.0^!'` there."
    assert check("--candidate", "v1.0")[:3] == (77, "", f"SKIPPED: {message}\n")


def test_without_any_results(toy, check):
    message = f"SKIPPED: There are no results in {toy.repo / 'nowhere'}; run `asv run` first.\n"
    assert check("--results", str(toy.repo / "nowhere"))[:3] == (77, "", message)


def test_without_the_tag(toy, check):
    """A clone of a clone in which nobody made the tags; the table knows the commit."""
    with_it = check()
    subprocess.run(["git", "-C", toy.repo, "tag", "--delete", "v1.0"], check=True, capture_output=True)
    assert check() == with_it and with_it[0] == 0


def test_a_tag_that_was_moved_is_refused(toy, check):
    subprocess.run(["git", "-C", toy.repo, "tag", "--force", "v1.0", toy.second], check=True, capture_output=True)
    code, out, err, said = check()
    assert (code, out) != (0, "") and said["verdict"] != "PASS"
    assert f"v1.0: the tag is at {toy.second}, benchmarks/releases.toml says {toy.first}" in err


def test_without_the_revision(check):
    message = "This clone has no v9.9; check the name, or run `git fetch --tags`.\n"
    assert check("--candidate", "v9.9")[:3] == (77, "", f"SKIPPED: {message}")


def test_in_a_shallow_clone(toy, check, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", toy.repo.as_uri(), clone], check=True)
    shutil.copytree(toy.repo / "results", clone / "results")
    message = "This clone has no v1.0; this clone is shallow: run `git fetch --unshallow --tags`.\n"
    assert check(repo=clone)[:3] == (77, "", f"SKIPPED: {message}")
    message = (
        f"HEAD is not measured, like all before it up to {toy.head}, on toy (gpu-10k); this clone is shallow: "
        "run `git fetch --unshallow --tags`."
    )
    for path in (toy.repo / "results" / "toy").glob(f"{toy.third[:8]}-*"):
        shutil.copy(path, clone / "results" / "toy" / f"{toy.head[:8]}-{ENV}.json")
        whole = json.loads(path.read_text()) | {"commit_hash": toy.head}
        (clone / "results" / "toy" / f"{toy.head[:8]}-{ENV}.json").write_text(json.dumps(whole))
    assert check("--baseline", toy.head, repo=clone)[:3] == (77, "", f"SKIPPED: {message}\n")


def test_of_several_machines_one_is_chosen(toy, check, monkeypatch):
    copy_machine(toy, "other")
    damage(toy, toy.third, set_seconds(57.55), machine="other")
    message = "BAD REQUEST: Both sides were measured on other, toy: choose with --machine.\n"
    assert check()[:3] == (2, "", message)
    assert check("--machine", "other")[3]["ratio"] == pytest.approx(4.0)
    monkeypatch.setattr("platform.node", lambda: "other")
    assert check()[0] == 1
    damage(toy, toy.third, set_seconds(float("nan")), machine="other")
    assert check()[3]["machine"] == "toy"  # this machine has no second side
    assert check("--machine", "third")[2].startswith("SKIPPED: v1.0 is not measured on third (gpu-10k);")


def checked(toy: Toy, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    """The checker in a process of its own."""
    code = "import sys; from pathlib import Path; from benchmarks import check_speedup; from virnucpro import pipes; "
    code += "pipes.outlive_readers(); sys.exit(check_speedup.main(sys.argv[2:], Path(sys.argv[1])))"
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
    done = checked(toy, "--json", "/dev/stdout", stdout=subprocess.PIPE)
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
    assert "Ratio 7.938, target 4.500: PASS" in out
    assert err.startswith(f"BAD REQUEST: --json {tmp_path / place} cannot be written (")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["--min-ratio", "nan"], ["--min-ratio", "-1"], ["--workload", "20k"], ["HEAD"]])
def test_a_bad_request(check, arguments):
    with pytest.raises(SystemExit, match="2"):
        check(*arguments)


def test_values_keep_failed_skipped_and_absent_apart(toy):
    results = Results.load(toy.repo / "results")
    found = results.of("toy", toy.first)
    assert results.machines() == ["toy"]
    assert [each.commit for each in results.commits("toy")] == [toy.first, toy.third]
    assert found.value(WALL, "gpu-10k", "default") == Value("measured", 230.2, "1", ENV)
    assert found.value(WALL, "cpu-small", "one") == Value("skipped", None, "1", ENV)
    assert found.value("commands.PredictReads.track_wall_seconds", "gpu-10k", "one") == Value("failed", None, "1", ENV)
    assert found.value(WALL, "gpu-20k", "default") == found.value("start_up.StartUp.track_help_seconds") == Value()
    assert results.of("toy", toy.head) is None
