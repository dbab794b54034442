"""Run offline: measure commits on a machine without network; `python -m benchmarks.bundle` packs this file as run.py.

    python3 .bundle/run.py COMMIT [COMMIT ...] --machine NAME [--bench REGEX] [--rounds N] [--limit S] [--output DIR]
    python3 .bundle/run.py --record [COMMIT ...] --machine NAME [--only PART] [--limit S] [--output DIR]

Start it with the Python that has torch. Commits are measured in the order given, once or in so many rounds. --record
measures all that is judged: HEAD, or the --candidate, and v1.0 in turn, then what is reported beside it, then the
commits that are named; where the machine is lent for less than that takes, input by input with --only.
Results of earlier calls in the same --work folder are kept, and after each step all of them are copied into --output,
ready for benchmarks.merge_results. With --limit a call ends before a step that would not fit into so many seconds, and
the same call again goes on from there.

Exit codes: 0 all measured; 1 could not run (asv's, too); 2 a benchmark or a build failed, or a bad command line; 75 the
limit came first: call again. Of 1 and 2 the first counts; what comes after it is measured all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}
NAMED = ("torch", "numpy")  # packages whose versions are part of an environment's name and of the results
PARTS = ("proteins", "reads", "contigs", "accuracy", "rest")  # as `benchmarks.offline.record` has them
AGAIN = 75  # exit code


class CannotRun(Exception):
    """What was found, and what to do."""


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    work = args.work.resolve()
    site, repo, results = work / "site", work / "repo", work / "results"
    begun = time.time()
    for name in OF_A_HOOK:  # which would have git at work in that hook's repository
        os.environ.pop(name, None)
    os.environ.update(LC_ALL="C.UTF-8", LANGUAGE="")  # asv reads what git says
    try:
        for folder in (site, work / "home", work / "cache", args.output):
            folder.mkdir(parents=True, exist_ok=True)
        environ = surroundings(work)
        if not args.no_install:
            install(BUNDLE / "wheels", site, environ)
        sys.path.append(str(site))  # after the host's own packages
        hashes = dict(zip(args.commits, check_out(BUNDLE / "history.bundle", repo, args.commits)))
        configuration = configure(repo, work)
        describe_machine(args.machine, args.ram, work / "home" / ".asv-machine.json")
    except CannotRun as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"run.py: {error.filename} cannot be used: {error.strerror}. Choose another.", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "asv", "run", "--config", configuration, "--machine", args.machine]
    command += ["--launch-method", "spawn", "--show-stderr"]
    sys.path.append(str(repo))
    from benchmarks.offline.hand_back import hand_back, summary  # which came in the bundle's history
    from benchmarks.offline.record import Taken, recorded

    codes, taken = [], Taken(work / f"steps-{args.machine}.json")
    todo = (
        recorded(args.commits, hashes, results / args.machine, on_gpu=gpu() != "none", only=args.only)
        if args.record
        else [(each, args.bench) for each in args.commits * args.rounds]
    )
    for number, (commit, bench) in enumerate(todo):
        step = " ".join([*args.only, str(number), hashes[commit], *bench])
        if args.limit and step in taken.seconds:
            continue  # by an earlier call
        if args.limit and time.time() - begun + taken.guess(hashes[commit], bench, args.limit) > args.limit:
            print(
                f"run.py: {number} steps are done; the next does not fit into {args.limit} s. Call again.", flush=True
            )
            codes.append(AGAIN)
            break
        # One call of asv for each: a job that is killed loses one step at most.
        before, words = time.time(), [f"--bench={regex}" for regex in bench]
        done = subprocess.run(
            [*command, *words, "HASHFILE:-"], input=f"{hashes[commit]}\n", text=True, cwd=repo, env=environ
        )
        codes.append(done.returncode)
        taken.note(step, time.time() - before)
        hand_back(results, args.machine, args.output)
    try:
        print(summary(results / args.machine, hashes, begun), flush=True)
    except BrokenPipeError:  # whoever reads this has enough, and the results are at their place
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return next((code for code in codes if code), 0)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Measure commits on a machine without network.")
    parser.add_argument("commits", nargs="*", metavar="COMMIT", help="a tag or hash of the bundle's history, or HEAD")
    parser.add_argument("--record", action="store_true", help="all that is judged, beside v1.0; then the commits")
    parser.add_argument("--candidate", metavar="COMMIT", default="HEAD", help="of --record, what is judged (HEAD)")
    parser.add_argument(
        "--only", action="append", default=[], choices=PARTS,
        help="of --record, what belongs to one input, or to none; may be repeated (all)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="times that the commits are measured (1)")
    parser.add_argument("--limit", type=float, metavar="S", help="seconds of a call, as a queue has it (no limit)")
    parser.add_argument(
        "--bench", action="append", default=[], metavar="REGEX", help="benchmarks (all); may be repeated"
    )
    parser.add_argument("--machine", default="nvidia-h200", help="its name in the results (nvidia-h200)")
    parser.add_argument("--ram", help="of the machine, as '128 GiB', where the system grows it on demand (as read)")
    work = Path(tempfile.gettempdir(), "virnucpro-bench")
    parser.add_argument("--work", type=Path, default=work, help=f"folder for environments, caches and results ({work})")
    parser.add_argument("--output", type=Path, help="folder for the results to take home (results-MACHINE)")
    parser.add_argument("--no-install", action="store_true", help="use the wheels that are in the work folder already")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"\w[\w.-]*", args.machine, re.ASCII):
        parser.error(f"--machine {args.machine!r} is a folder's name: letters, digits, '.', '_' and '-'.")
    if not (args.commits or args.record):
        parser.error("name the commits to measure, or --record.")
    if args.record:
        args.commits = [args.candidate, "v1.0", *args.commits]
    args.output = args.output or Path(f"results-{args.machine}")
    return args


def surroundings(work: Path) -> dict[str, str]:
    """Environment variables for asv: its own home, nothing from the network, modules from the work folder."""
    changes = {
        "HOME": str(work / "home"),  # asv keeps ~/.asv-machine.json, Triton its kernels
        "VIRNUCPRO_BENCH_CACHE": str(work / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
        # Of asv alone; it keeps PYTHONPATH from the benchmarks, which find both through the host environment.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(work / "site"), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",  # a job that is killed shows what it said
    }
    return {**os.environ, **changes}


def install(wheels: Path, site: Path, environ: dict[str, str]) -> None:
    """Put into `site` the wheels that this Python lacks, unless an earlier call did."""
    there = {(normal(one.metadata["Name"]), one.version) for one in metadata.distributions(path=[str(site)])}
    wanted = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        if version_here(name) is None and (normal(name), version) not in there:
            wanted.append(str(wheel))
    if wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade", "--target"]
        output_of([*pip, site, *wanted], env=environ)


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def version_here(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_out(bundle: Path, repo: Path, commits: list[str]) -> list[str]:
    """Bring the repository to the bundle's HEAD, with its tags, whatever it was before.

    Returns:
        Full hashes of the commits.
    Raises:
        CannotRun: No git, no bundle, or no such commit in it.
    """
    if shutil.which("git") is None:
        raise CannotRun("git was not found on PATH, and asv needs it. Install git.")
    git = ["git", "-C", repo]
    output_of(["git", "init", "--quiet", repo])
    output_of([*git, "fetch", "--quiet", "--force", bundle, "HEAD", "refs/tags/*:refs/tags/*"])
    output_of([*git, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])
    output_of([*git, "clean", "--quiet", "--force", "-d", "-x"])  # benchmarks of an earlier bundle
    hashes = []
    for commit in commits:
        try:
            hashes.append(output_of([*git, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]))
        except CannotRun as error:
            raise CannotRun(f"{bundle} has no commit {commit}. Name a tag or hash of its history, or HEAD.") from error
    return hashes


def configure(repo: Path, work: Path) -> Path:
    """The repository's asv.conf.json for this host: its packages are the environment, and their versions are recorded.

    Raises:
        CannotRun: A package that the benchmarks need is not here.
    """
    import json5  # comes with asv

    found = json5.loads((repo / "asv.conf.json").read_text(encoding="utf-8"))
    matrix = found.get("matrix", {})
    beside = (repo / "benchmarks" / "requirements.txt").read_text(encoding="utf-8")
    names = [*matrix.get("req", {}), *re.findall("^([^#\\s=]+)==", beside, re.MULTILINE)]
    versions = {name: version_here(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise CannotRun(f"{sys.executable} has no {', '.join(missing)}, nor the bundle. Use the Python that has them.")
    found |= {
        "environment_type": "host",
        "pythons": [".".join(platform.python_version_tuple()[:2])],
        "matrix": {**matrix, "req": {name: [versions[name]] for name in NAMED if name in versions}},
        "build_command": found["build_command"][-1:],  # without what brings those packages
        "plugins": [".benchmarks.asv_plugins.run_choice", ".benchmarks.asv_plugins.host_environment"],
        "repo": ".",
        "env_dir": str(work / "env"),
        "results_dir": str(work / "results"),
    }
    path = repo / "asv.host.json"  # here, because asv resolves plugins and benchmarks from its configuration's folder
    path.write_text(json.dumps(found, indent=4), encoding="utf-8")
    return path


def describe_machine(name: str, ram: str | None, path: Path) -> None:
    """Tell asv what this machine is, and no more than decides about speed: results of two calls should fit together."""
    from asv.machine import Machine, MachineCollection

    facts = Machine.get_defaults()
    kernel = ".".join(platform.release().split(".")[:2])
    facts |= {"machine": name, "os": f"{platform.system()} {kernel}", "gpu": gpu()}
    facts["ram"] = ram or f"{round(int(facts['ram']) / 2**30)} GiB"
    MachineCollection.save(name, facts, _path=str(path))


def gpu() -> str:
    """The first GPU and the branch of its driver, as 'NVIDIA H200, driver 580'; 'none' without one."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    name, driver = output_of(query).splitlines()[0].rsplit(", ", 1)
    return f"{name}, driver {driver.split('.')[0]}"


def output_of(command: list[str | Path], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise CannotRun(f"{' '.join(map(str, command))} ended with {done.returncode}. {said}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
