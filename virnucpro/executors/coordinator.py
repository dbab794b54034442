"""Coordinator: several devices, a worker process each, windows handed out from one queue. No torch here.

A worker that is slow, or lost, costs time and nothing else: what it had in hand goes to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from virnucpro.config.compute import WeightsInfo
from virnucpro.engine.events import Began, Computed
from virnucpro.errors import BadRequest, Interrupted, one_line
from virnucpro.executors.agent import PATIENCE, Agent, Clock, readable
from virnucpro.executors.base import DECISIVE, ExecutorConfig, WindowAndCost
from virnucpro.executors.retry_policy import RetryPolicy
from virnucpro.executors.worker import Loaded, Lost, Message, Ready, Refused, work_for
from virnucpro.reading.window_source import AtHand, Source
from virnucpro.system.processes import interrupts_held

log = logging.getLogger(__name__)


class Coordinator:
    """A `base.Executor` of several.

    Args:
        devices: One a worker.
        body: What a process runs; tests put in one that fails.
    """

    def __init__(self, config: ExecutorConfig, devices: tuple[str, ...], body: Callable[..., None] = work_for) -> None:
        self._config, self._devices, self._body = config, devices, body
        self._agents: list[Agent] = []
        self._clock = Clock()
        self._stopping = self._finishing = False
        self._reason = ""  # why the last one that was lost ended
        self._backends: dict[str, str] = {}  # of the first that has loaded
        self._policy = RetryPolicy(AtHand(()), config)  # until `load`
        self.failed_ranks: list[int] = []

    def check(self) -> WeightsInfo:
        """Start the workers; the first that has checked the weights answers for all."""
        for rank, device in enumerate(self._devices):
            self._start(rank, device)
        while self._agents:
            if self._stopping:
                raise Interrupted
            for agent in readable(self._agents):
                message = self._receive(agent)
                if isinstance(message, Ready):
                    return message.info
                if message is None:
                    log.error("Worker %d: %s while it started.", agent.rank, self._end(agent))
                    self.failed_ranks.append(agent.rank)
        raise BadRequest(
            f"No worker process could be started (the last: {self._reason}). Leave out --parallel; in a script, call "
            'virnucpro under `if __name__ == "__main__":`, for each worker imports it again.'
        )

    def load(self, source: Source) -> dict[str, str]:
        """Wait for the first worker that has its models; nothing is handed out to those that have not."""
        self._policy = RetryPolicy(source, self._config)
        while self._agents and not self._backends and not self._stopping:
            for agent in readable(self._agents):
                list(self._attend(agent))  # nobody has a window in hand: none is finished
            self._watch()
        if not self._agents and not self._stopping:
            raise BadRequest(
                f"No worker could load the models (the last {self._reason}). "
                "Free memory, ask for fewer workers, or choose a smaller --esm-model."
            )
        return dict(self._backends)

    def run(self) -> Iterator[WindowAndCost]:
        try:
            while not self._stopping and self._policy.hand_out(self._agents):
                for agent in readable(self._agents):
                    yield from self._attend(agent)
                self._watch()
            yield from self._finish_in_hand()
            if not self._agents and not self._stopping:
                yield from self._policy.give_up_the_rest(self.failed_ranks)
        finally:
            self.close()

    def stop(self) -> None:
        self._stopping = True

    def close(self) -> None:
        """End all processes."""
        for agent in self._agents:
            agent.kill()
        for agent in self._agents:
            agent.end()
        self._agents = []

    def _start(self, rank: int, device: str, deaths: int | None = None) -> None:
        """Start a worker; where the system has not what that takes, its rank has failed."""
        try:
            with interrupts_held():
                self._agents.append(Agent(self._body, self._config, device, rank, deaths, self._clock))
        except (OSError, RuntimeError) as error:  # no processes, descriptors or threads left
            self._reason = one_line(error)
            log.error("Worker %d on %s cannot be started (%s).", rank, device, self._reason)
            self.failed_ranks.append(rank)

    def _end(self, agent: Agent) -> str:
        self._agents.remove(agent)
        self._reason = agent.end()
        return self._reason

    def _watch(self) -> None:
        self._clock.look()
        for agent in self._agents:
            agent.watch()

    def _receive(self, agent: Agent) -> Message | None:
        """Take a worker's message; None at its end.

        Raises:
            BadRequest: The models cannot be used, or workers would compute differently.
        """
        message = agent.receive()
        match message:
            case Refused(reason) if agent.deaths is None:
                raise BadRequest(reason)
            case Loaded(backends):
                self._backends = self._backends or backends
                if any(backends[name] != self._backends[name] for name in DECISIVE):
                    raise BadRequest(
                        f"The GPUs of this run would compute differently ({self._backends}, and {backends}). "
                        "Choose --attention sdpa, or --gpus of one kind."
                    )
        return message

    def _attend(self, agent: Agent) -> Iterator[WindowAndCost]:
        """Take in a message of a worker, or its end; yields what is finished with it."""
        match message := self._receive(agent):
            case None | Lost() | Refused() if not self._finishing:
                yield from self._replace(agent)
            case None:
                self._end(agent)
            case Began():
                self._policy.began(agent, message)
            case Computed():
                yield from self._policy.computed(agent, message)

    def _replace(self, agent: Agent) -> Iterator[WindowAndCost]:
        """Take back what a dead worker had in hand, and start another in its place."""
        reason = self._end(agent)
        log.error("Worker %d: %s; it had %d windows in hand.", agent.rank, reason, len(agent.in_hand))
        replaceable = self._policy.replaceable(agent)
        yield from self._policy.lost(agent, reason)
        if self._stopping or not self._policy.needs_workers:
            return
        if replaceable:
            self._start(agent.rank, agent.device, (agent.deaths or 0) + 1)
        else:
            self.failed_ranks.append(agent.rank)

    def _finish_in_hand(self) -> Iterator[WindowAndCost]:
        """Tell the workers to stop, and take in what they were computing."""
        self._finishing = True
        for agent in self._agents:
            agent.finish()
        deadline = self._clock.now + PATIENCE
        while self._agents and (any(agent.begun for agent in self._agents) or self._clock.now < deadline):
            for agent in readable(self._agents):
                yield from self._attend(agent)
            self._watch()
