"""Machine choice: an asv plugin. `asv compare` finds its machine, and the commits that stand for what is asked for.

asv imports it, as its configuration says, before a command runs. It relies on the pinned asv 0.6.6: `Compare.run` takes
the configuration and the two revisions first, fails where results/ has several machines and `machine` is None, and
gives the rows to `unroll_result`. (`asv show` shows all machines then, which is fine.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager

from asv.benchmarks import Benchmarks
from asv.commands import compare
from asv.console import log
from asv.machine import Machine, MachineCollection, iter_machine_files
from asv.results import iter_results_for_machine, iter_results_for_machine_and_hash
from asv.util import UserError, load_json

from benchmarks.releases import ROOT, BadRelease
from benchmarks.support import stand_in
from benchmarks.support.git import GitFailed


def this_computer() -> str:
    """What asv calls it: as it was registered with `asv machine`, or its host name."""
    name = Machine.get_unique_machine_name()
    try:
        return MachineCollection.load(name)["machine"]
    except UserError:
        return name


def choose(conf, revisions: Sequence[str], machine: str | None = None) -> tuple[str, list[stand_in.Asked]]:
    """The machine that has results for all revisions, this computer if several have; and the commits that have them.

    Raises:
        UserError: No machine has results for all; or several have, and none is this computer.
    """
    machines = sorted(load_json(path)["machine"] for path in iter_machine_files(conf.results_dir))
    able, reasons = {}, []
    for name in machines if machine is None else [machine]:
        dates = {each.commit_hash: each.date for each in iter_results_for_machine(conf.results_dir, name)}
        measured = sorted(dates, key=lambda commit: -dates[commit])
        try:
            found = {revision: stand_in.find(ROOT, revision, measured) for revision in revisions}
            lacking = [revision for revision in revisions if not found[revision]]
            reasons += [f"{each} on {name}: {stand_in.missing(ROOT, each, measured)}" for each in lacking]
        except (BadRelease, GitFailed) as error:
            raise UserError(str(error)) from error
        if not lacking:
            able[name] = [found[revision] for revision in revisions]
    here = this_computer()
    if here in able or len(able) == 1:
        name = here if here in able else next(iter(able))
        return name, able[name]
    if able:
        raise UserError(f"{' and '.join(revisions)} were measured on {', '.join(able)}. Choose with --machine.")
    raise UserError(f"Not measured: {'; '.join(reasons) or 'anything'}. Measure what is missing with `asv run`.")


@contextmanager
def only_rows_with_figures(conf, machine: str, commits: Sequence[str]):
    """Within it, asv leaves out rows that are n/a on both sides, and those of benchmarks that are no more."""
    known, rows, unroll = Benchmarks.load(conf), set(), compare.unroll_result
    for commit in commits:
        for result in iter_results_for_machine_and_hash(conf.results_dir, machine, commit):
            for key in result.get_all_result_keys() & known.keys():
                params = result.get_result_params(key)
                value, stats = result.get_result_value(key, params), result.get_result_stats(key, params)
                rows |= {name for name, found, *_ in unroll(key, params, value, stats) if found == found}
    compare.unroll_result = lambda *row: (each for each in unroll(*row) if each[0] in rows)
    try:
        yield
    finally:
        compare.unroll_result = unroll


_run = compare.Compare.run


def _run_with_a_machine(conf, hash_1, hash_2, *args, machine=None, **options):
    name, found = choose(conf, [hash_1, hash_2], machine)
    if machine is None and len(list(iter_machine_files(conf.results_dir))) > 1:
        log.info(f"Comparing the results of machine {name}; --machine chooses another.")
    for asked in found:
        if asked.commit not in asked.measured:
            log.info(str(asked))
    log.flush()
    commits = [asked.measured[0] for asked in found]
    with only_rows_with_figures(conf, name, commits):
        return _run(conf, *commits, *args, machine=name, **options)


compare.Compare.run = staticmethod(_run_with_a_machine)
