"""Machine choice: an asv plugin. `asv compare` finds its machine, and `asv run` never draws in another torch.

asv imports it, as its configuration says, before a command runs. It relies on the pinned asv 0.6.6: `Compare.run` takes
the configuration and the two revisions first, and fails where results/ has several machines and `machine` is None.
(`asv show` shows all machines then, which is fine.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from asv.commands.compare import Compare
from asv.console import log
from asv.machine import Machine, MachineCollection, iter_machine_files
from asv.repo import NoSuchNameError, get_repo
from asv.results import iter_results_for_machine
from asv.util import UserError, load_json

# For the pip that fills asv's environments. A URI, since pip would split a path at its spaces.
os.environ.setdefault("PIP_CONSTRAINT", (Path(__file__).resolve().parents[2] / ".ci" / "constraints.txt").as_uri())


def this_computer() -> str:
    """What asv calls it: as it was registered with `asv machine`, or its host name."""
    name = Machine.get_unique_machine_name()
    try:
        return MachineCollection.load(name)["machine"]
    except UserError:
        return name


def choose(conf, revisions: Sequence[str]) -> str | None:
    """The machine that has results for all revisions; this computer, if several have.

    Returns:
        None where no more than one machine has results at all: there is nothing to choose.
    Raises:
        UserError: No machine has results for all; or several have, and none is this computer.
    """
    machines = sorted(load_json(path)["machine"] for path in iter_machine_files(conf.results_dir))
    if len(machines) < 2:
        return None
    measured = {
        name: {each.commit_hash for each in iter_results_for_machine(conf.results_dir, name)} for name in machines
    }
    commits = [_commit(conf, revision) for revision in revisions]
    able = [name for name in machines if all(_among(commit, measured[name]) for commit in commits)]
    here = this_computer()
    if here in able or len(able) == 1:
        return here if here in able else able[0]
    wanted = " and ".join(revisions)
    if able:
        raise UserError(f"Results for {wanted} are there from {', '.join(able)}. Choose with --machine.")
    has = "; ".join(f"{name} has {', '.join(sorted(h[:8] for h in measured[name])) or 'none'}" for name in machines)
    raise UserError(f"No machine has results for both {wanted}: {has}. Measure what is missing with `asv run`.")


def _commit(conf, revision: str) -> str:
    try:
        return get_repo(conf).get_hash_from_name(revision)
    except NoSuchNameError:
        return revision  # asv takes the beginning of a hash of a commit that the repository does not have


def _among(commit: str, hashes: set[str]) -> bool:
    return any(each.startswith(commit) for each in hashes)


_run = Compare.run


def _run_with_a_machine(conf, hash_1, hash_2, *args, machine=None, **options):
    if machine is None:
        machine = choose(conf, [hash_1, hash_2])
        if machine is not None:
            log.info(f"Comparing the results of machine {machine}; --machine chooses another.")
            log.flush()
    return _run(conf, hash_1, hash_2, *args, machine=machine, **options)


Compare.run = staticmethod(_run_with_a_machine)
