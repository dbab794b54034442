"""Workers: spawned processes, each with its own models, that turn parts into feature files.

Every worker has a pipe to the parent. It sends ("progress", model, sequences), ("done", part index),
("failed", part index, reason), ("log", record), ("memory", peak bytes) and ("refused", message): the
models cannot be loaded.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from virnucpro.children import follow_the_parent, interrupts_held
from virnucpro.errors import BadRequest, VirnucproError
from virnucpro.parts import Part, read_part
from virnucpro.weights import WeightPaths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What every worker of a run is told."""

    weights: WeightPaths
    bf16: bool
    keep_casts: bool
    batch_residues: int
    threads: int  # CPU threads a worker
    log_level: int


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    device: str
    waiting: list[Part]  # in order; the first is under way


def extract(
    shares: list[list[Part]], devices: list[str], work: Work, progress: Callable[[str, int], None]
) -> dict[int, str]:
    """Run one worker a device over its share of the parts.

    Args:
        shares: Parts of each worker, from `parts.assign`.
        devices: Device of each worker.
        progress: Called with a model's name and the sequences done since its last call.
    Returns:
        Reason for each part that failed, by part index.
    Raises:
        BadRequest: A worker could not load the models; the others are stopped.
    """
    context = multiprocessing.get_context("spawn")
    workers = []
    failed: dict[int, str] = {}
    try:
        for share, device in zip(shares, devices, strict=True):
            if not share:
                continue
            parent_end, child_end = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(child_end, device, share, work), daemon=True)
            with interrupts_held():
                process.start()
            child_end.close()  # so that a worker's death is the end of its pipe
            workers.append(_Worker(process, parent_end, device, list(share)))
        running = {worker.pipe: worker for worker in workers}
        while running:
            for pipe in wait(list(running)):
                worker = running[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    del running[pipe]
                    worker.process.join()
                    _account_for_death(worker, failed)
                else:
                    _take(worker, message, failed, progress)
    finally:
        for worker in workers:
            if worker.process.is_alive():
                worker.process.terminate()
            worker.process.join()
            worker.pipe.close()
    return failed


def _take(worker: _Worker, message: tuple, failed: dict[int, str], progress: Callable[[str, int], None]) -> None:
    """Act on one message of a worker."""
    match message:
        case ("progress", model, sequences):
            progress(model, sequences)
        case ("done", index):
            worker.waiting = [part for part in worker.waiting if part.index != index]
        case ("failed", index, reason):
            worker.waiting = [part for part in worker.waiting if part.index != index]
            failed[index] = reason
            log.error("Part %d failed: %s", index, reason)
        case ("log", record):
            logging.getLogger(record.name).handle(record)
        case ("memory", peak):
            log.info("Peak GPU memory of a worker on %s: %.1f GB.", worker.device, peak / 1e9)
        case ("refused", text):
            raise BadRequest(text)


def _account_for_death(worker: _Worker, failed: dict[int, str]) -> None:
    """Blame what a worker left undone on how it ended."""
    if not worker.waiting:
        return
    code = worker.process.exitcode
    reason = (
        f"worker on {worker.device} was killed by {signal.Signals(-code).name}"
        if code < 0
        else (f"worker on {worker.device} ended with exit code {code}")
    )
    for part in worker.waiting:
        failed[part.index] = reason
    log.error("The %s; %d parts are undone.", reason, len(worker.waiting))


def _work(pipe: Connection, device: str, share: list[Part], work: Work) -> None:
    """Body of a worker process."""
    follow_the_parent()
    logging.getLogger().handlers = [_PipeHandler(pipe)]
    logging.getLogger().setLevel(work.log_level)
    logging.captureWarnings(True)
    try:
        _extract_share(pipe, device, share, work)
    except VirnucproError as error:
        pipe.send(("refused", str(error)))
    except Exception as error:
        log.debug("Worker on %s", device, exc_info=True)
        for part in share:
            pipe.send(("failed", part.index, _reason(error)))


def _extract_share(pipe: Connection, device: str, share: list[Part], work: Work) -> None:
    """Load the models once, then write a feature file for each part."""
    import torch  # here, so that a worker says what it is before the seconds this takes

    from virnucpro.dnabert import dnabert_features, load_dnabert, load_tokenizer
    from virnucpro.esm2 import esm2_features, load_esm2
    from virnucpro.features import write_features

    def report(model: str) -> Callable[[int], None]:
        return lambda done: pipe.send(("progress", model, done))

    torch.set_num_threads(work.threads)
    place = torch.device(device)
    try:
        esm2 = load_esm2(work.weights.esm, place)
        if work.weights.dnabert is not None:
            dnabert, tokenizer = load_dnabert(work.weights.dnabert, place), load_tokenizer(work.weights.dnabert)
    except torch.OutOfMemoryError as error:
        raise BadRequest(
            f"{device} has too little memory for the models ({_reason(error)}). "
            "Lower --workers-per-gpu or choose a smaller --esm-model."
        ) from error
    for part in share:
        try:
            dnabert_SD = None
            ids, proteins = read_part(part.protein_file)
            if not len(ids) == len(proteins) == part.sequences:
                raise RuntimeError(f"{part.protein_file} does not hold {part.sequences} records")
            if part.nucleotide_file is not None:
                names, sequences = read_part(part.nucleotide_file)
                if names != ids:
                    raise RuntimeError(f"{part.nucleotide_file} and {part.protein_file} hold other frames")
                dnabert_SD = dnabert_features(dnabert, tokenizer, sequences, report("DNABERT-S"))
            esm2_SD = esm2_features(esm2, proteins, work.batch_residues, work.bf16, work.keep_casts, report("ESM-2"))
            for features_SD in (esm2_SD, dnabert_SD):
                if features_SD is not None and not features_SD.isfinite().all():
                    raise RuntimeError("features are not finite")
            write_features(part, ids, esm2_SD, dnabert_SD)
            pipe.send(("done", part.index))
        except Exception as error:  # one part's failure must not cost the others
            log.debug("Part %d", part.index, exc_info=True)
            pipe.send(("failed", part.index, _reason(error)))
    if place.type == "cuda":
        pipe.send(("memory", torch.cuda.max_memory_allocated(place)))


def _reason(error: BaseException) -> str:
    """An error on one line, without tabs, short enough for a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class _PipeHandler(logging.handlers.QueueHandler):
    """Sends log records to the parent, which owns the terminal."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(("log", record))
