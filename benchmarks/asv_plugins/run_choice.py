"""Run choice: an asv plugin. `asv run v1.0..HEAD` works as typed in a fresh clone, and keeps every sample.

The releases' tags are made, and a clone that calls another commit by a release's name is refused, whatever the command.
This computer is registered without questions. A range that begins at a release measures that release as well, which git
leaves out, and every package in it once. Where no benchmarks are named, those run that can on this machine. Samples are
added to those of earlier calls, and the evidence of each run lies beside the results.

asv imports it, as its configuration says, before a command runs. It relies on the pinned asv 0.6.6, whose `Run.run`
takes the configuration, and the rest by name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from asv.commands.run import Run
from asv.console import log
from asv.machine import Machine, MachineCollection
from asv.repo import get_repo
from asv.util import UserError

from benchmarks.offline.run import gpu
from benchmarks.releases import ROOT, TABLE, BadRelease, make_tags, read_releases
from benchmarks.support.evidence import FOLDER
from benchmarks.support.git import GitFailed, NoGit
from benchmarks.support.inputs import of_this_machine
from benchmarks.support.stand_in import package_of

# For the pip that fills asv's environments. A URI, since pip would split a path at its spaces.
if (constraints := ROOT.resolve() / ".ci" / "constraints.txt").exists():
    os.environ.setdefault("PIP_CONSTRAINT", constraints.as_uri())


def setup() -> None:
    """asv calls it as soon as this is imported. Raises UserError where a release is not what it has to be."""
    if not (ROOT / TABLE).exists():
        return
    try:
        for line in make_tags(ROOT.resolve()):
            if line.endswith(" made"):
                log.info(f"Tag of a release: {line}.")
    except (BadRelease, GitFailed, NoGit) as error:
        raise UserError(str(error)) from error


def registered(name: str | None) -> str:
    """The name of a machine that asv knows: the one asked for, or this computer, which is registered if need be."""
    asked = name or Machine.get_unique_machine_name()
    try:
        facts = MachineCollection.load(asked)
    except UserError:
        if name is not None:
            return asked  # which asv refuses
        facts = Machine.get_defaults() | {"machine": asked}
        log.info(f"This computer is registered as {asked}, as `asv machine --yes` does it.")
    if "gpu" not in facts:
        MachineCollection.save(asked, facts | {"gpu": gpu()})
    return facts["machine"]


def whole_range(conf, asked: object) -> object:
    """What is asked for; of a range that begins at a release the hashes, newest first, and that release at the end. Of
    commits with the same package, which differ in what is not measured, the newest stands for all."""
    found = isinstance(asked, str) and re.fullmatch(r"([^\s.]\S*?)\.\.(?!\.)(\S*)", asked)
    known = read_releases(ROOT) if (ROOT / TABLE).exists() else []
    release = found and next((each for each in known if each.tag == found[1]), None)
    if not release:
        return asked
    hashes = get_repo(conf).get_hashes_from_range(f"{release.commit}..{found[2]}")
    kept: dict[object, str] = {}
    for commit in hashes:
        try:
            kept.setdefault(package_of(ROOT, commit), commit)
        except GitFailed:
            kept[commit] = commit  # without a package: asv says so
    log.info(f"{release.tag} itself is measured, too, after the others: git leaves it out of {asked}.")
    if len(kept) < len(hashes):
        log.info(f"{len(hashes)} commits have {len(kept)} packages: the newest of each is measured.")
    return [*kept.values(), release.commit]


_run = Run.run


def _run_as_typed(conf, range_spec=None, dry_run=False, machine=None, append_samples=False, bench=None, **options):
    place = Path(conf.results_dir).resolve() / registered(machine) / "evidence"
    os.environ[FOLDER] = "" if dry_run else str(place)
    spec = whole_range(conf, range_spec)
    options |= {"dry_run": dry_run, "machine": machine, "append_samples": True, "bench": bench or [of_this_machine()]}
    return _run(conf, range_spec=spec, **options)


Run.run = staticmethod(_run_as_typed)
