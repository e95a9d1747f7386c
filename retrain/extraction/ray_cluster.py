"""Pass one on a Ray cluster: processes that each extract one part of the pictures after the other.

This process lists the pictures and hands out paths. The others, Ray's actors, read the files, run the backbone and
write segments of their own; keys come back, never pixels or vectors. A part counts as done when its rows are in the
cache. So a process or a machine that is lost loses the part in its hands, which another one then extracts.
"""

import contextlib
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retrain import __version__
from retrain.errors import ClusterError, RetrainError
from retrain.events import Emit, Noted, Warned
from retrain.extraction.part import Numbered, Outcome, PartListener
from retrain.extraction.ray_actor import Job, PartResult, RetrainExtractor
from retrain.extraction.ray_connection import connected, last_line
from retrain.options import ClusterOptions
from retrain.text import counted

__all__ = ["RayExtraction"]

logger = logging.getLogger(__name__)

_PART_SECONDS = 10.0  # a part is as large as a process extracts in this time: what is lost with a process
_FIRST_PART, _SMALLEST_PART, _LARGEST_PART = 64, 16, 2048  # pictures
_PARTS_AHEAD = 2  # handed to each process, so that it never waits for this one
_MOST_TRIES = 3  # of a part that ends the process; then it is divided, and a single picture is skipped
_MOST_FAILED_STARTS = 10  # of each process, before any of them has started
_MOST_CPUS = 4  # of a process by default: several small ones use many cores better than a large one
_PATIENCE_SECONDS = 30.0  # until the user is told that nothing starts
_PAUSE_SECONDS = 0.5  # before a process that was lost is asked again to start, and between looks at what is done
_STOP_SECONDS = 20.0  # that the parts in hand may take to be saved after Ctrl-C


@dataclass
class _Part:
    """Some pictures that are handed out together."""

    pictures: list[Numbered]
    tries: int = 0  # that ended a process


@dataclass
class _Process:
    """What this process knows of another one."""

    actor: Any
    machine: str | None = None  # None: it has not started
    in_hand: list["_Part"] = field(default_factory=list)  # the first is the one that it works on
    pictures_per_second: float | None = None


class RayExtraction:
    """The processes of a cluster that extract, inside a `with` block.

    Args:
        job: what they have to know.
        options: which cluster, and how many of which size.
        emit: told how many there are, and what goes wrong.
    Raises MissingPackageError, ClusterError.
    """

    def __init__(self, job: Job, options: ClusterOptions, emit: Emit) -> None:
        self._job, self._options, self._emit = job, options, emit
        self.loading = 0.0  # seconds until the first process had started and loaded the backbone
        self._began = time.monotonic()
        self._told = self._has_result = False
        self._failed_starts = 0
        self._left = 0  # pictures that are not handed out
        self._queue: deque[_Part] = deque()
        self._calls: dict[Any, tuple[_Process, _Part | None]] = {}  # Ray's references; None: it starts
        self._resting: list[tuple[float, _Process]] = []  # until when, before they are asked again to start
        self._warned: set[str] = set()

    def __enter__(self) -> "RayExtraction":
        with contextlib.ExitStack() as stack:
            self._ray = stack.enter_context(connected(str(self._options.ray)))
            self._sent_job = self._ray.put(self._job)  # once to each machine: it may be large
            self._processes = self._begin()
            self._leave = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._leave:
            try:
                if kind is KeyboardInterrupt:
                    self._stop()
            finally:
                for process in self._processes:
                    self._ray.kill(process.actor)

    def _begin(self) -> list[_Process]:
        resources = self._options.resources or {"CPU": self._default_cpus()}
        count = self._options.ray_actors or self._room_for(resources)
        shown = ", ".join(f"{name}={number:g}" for name, number in resources.items())
        self._emit(Noted(f"extracting on Ray: {counted(count, 'process')}, each with {shown}"))
        self._shown = shown
        others = {name: number for name, number in resources.items() if name not in ("CPU", "GPU", "memory")}
        actor_class = self._ray.remote(RetrainExtractor).options(
            num_cpus=resources.get("CPU", 1),
            num_gpus=resources.get("GPU", 0),
            memory=resources.get("memory"),
            resources=others,
            max_restarts=-1,
            max_task_retries=0,  # a part that is lost is handed to whoever is free
            max_concurrency=2,  # so that it can be told to stop
            scheduling_strategy="SPREAD",
        )
        cores = max(1, math.floor(resources.get("CPU", 1)))
        processes = [_Process(actor_class.remote(cores)) for _ in range(count)]
        for process in processes:
            self._calls[process.actor.start.remote(self._sent_job)] = process, None
        return processes

    def _machines(self) -> list[dict[str, float]]:
        """What the machines of the cluster have."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _default_cpus(self) -> float:
        have = [machine["CPU"] for machine in self._machines() if machine.get("CPU", 0) >= 1]
        return float(min([_MOST_CPUS, *have]))

    def _room_for(self, resources: dict[str, float]) -> int:
        """How many processes the cluster has room for; one if it has none yet."""
        wanted = {name: number for name, number in resources.items() if number}
        return max(
            1,
            sum(
                min((int(machine.get(name, 0) // number) for name, number in wanted.items()), default=1)
                for machine in self._machines()
            ),
        )

    def extract(self, part: Sequence[Numbered], listener: PartListener) -> None:
        """Put the rows of all pictures of a part into the cache. Raises RetrainError."""
        self._unread = iter(part)
        self._left = len(part)
        while self._left or self._queue or any(part for _, part in self._calls.values()):
            self._tell_if_nothing_starts()
            self._hand_out()
            if not self._calls:
                time.sleep(_PAUSE_SECONDS)
                continue
            done, _ = self._ray.wait([*self._calls], timeout=_PAUSE_SECONDS)
            for reference in done:
                process, handed = self._calls.pop(reference)
                result = self._result(reference, process, handed, listener)
                if isinstance(result, str):
                    process.machine = result
                    self.loading = self.loading or time.monotonic() - self._began
                elif result is not None:
                    self._take(result, process, listener)

    def _hand_out(self) -> None:
        """Give every process that has started enough to do."""
        now = time.monotonic()
        for until, process in [*self._resting]:
            if now >= until and not process.in_hand:  # until then, calls that were lost come back
                self._resting.remove((until, process))
                self._calls[process.actor.start.remote(self._sent_job)] = process, None
        for _ in range(_PARTS_AHEAD):  # first one for each, then a second
            for process in self._processes:
                part = self._next(process) if process.machine is not None else None
                if part is not None:
                    process.in_hand.append(part)
                    self._calls[process.actor.extract.remote(part.pictures)] = process, part

    def _next(self, process: _Process) -> _Part | None:
        """The next part for a process: about as large as it extracts in some seconds, and smaller towards the end.

        None if it has enough, or there is none. What may have ended a process is handed out alone.
        """
        if len(process.in_hand) >= _PARTS_AHEAD or any(part.tries for part in process.in_hand):
            return None
        if self._queue and not (self._queue[0].tries and process.in_hand):
            return self._queue.popleft()
        rate = process.pictures_per_second
        size = _FIRST_PART if rate is None else max(_SMALLEST_PART, min(_LARGEST_PART, int(rate * _PART_SECONDS)))
        if len(self._processes) > 1:
            size = min(size, max(_SMALLEST_PART, self._left // (2 * len(self._processes))))
        pictures = [picture for _, picture in zip(range(size), self._unread, strict=False)]
        self._left -= len(pictures)
        return _Part(pictures) if pictures else None

    def _result(
        self, reference: Any, process: _Process, part: _Part | None, listener: PartListener
    ) -> PartResult | str | None:
        """What a call gave; None if the process or its machine was lost. Raises RetrainError."""
        errors = self._ray.exceptions
        working_on = process.in_hand[0] if process.in_hand else None
        if part is not None:
            process.in_hand.remove(part)
        try:
            result: PartResult | str = self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, RetrainError):
                raise error.cause from None
            raise ClusterError(f"a process of the Ray cluster failed: {last_line(error)}") from error
        except errors.RayError as error:
            logger.info("a process was lost: %s", last_line(error))
            if not self.loading:
                self._check_whether_any_starts(error)
            self._lost(process, part, working_on)
            self._put_back(part, listener)
            return None
        return result

    def _check_whether_any_starts(self, error: Exception) -> None:
        """Raise ClusterError if processes end again and again before one has started."""
        self._failed_starts += 1
        if self._failed_starts > _MOST_FAILED_STARTS * len(self._processes):
            raise ClusterError(
                f"the processes of the Ray cluster end before they have started: {last_line(error)}; check that "
                f"retrain {__version__} is installed on its machines, and that they see the cache"
            )

    def _lost(self, process: _Process, part: _Part | None, working_on: _Part | None) -> None:
        """Ask a process that was lost to start anew; note what it worked on."""
        if part is None or process.machine is not None:  # the second part in its hands only says the same again
            process.machine = None
            self._resting.append((time.monotonic() + _PAUSE_SECONDS, process))
            if working_on is not None:
                working_on.tries += 1

    def _put_back(self, part: _Part | None, listener: PartListener) -> None:
        """Have another process do a part that was lost; in halves if it goes on ending processes."""
        if part is None:
            return
        if part.tries < _MOST_TRIES:
            self._queue.append(part)
        elif len(part.pictures) > 1:  # one of them may do it
            middle = len(part.pictures) // 2
            halves = part.pictures[:middle], part.pictures[middle:]
            self._queue.extend(_Part(half, _MOST_TRIES - 1) for half in halves)
        else:
            [(number, _)] = part.pictures
            reason = f"the process that reads it ends, {_MOST_TRIES} times of {_MOST_TRIES}"
            listener.picture(number, Outcome(b"", None, time.time_ns(), failure=reason))

    def _take(self, result: PartResult, process: _Process, listener: PartListener) -> None:
        self.loading += 0.0 if self._has_result else result.loading  # while the first one loads, nothing is extracted
        self._has_result = True
        process.pictures_per_second = len(result.outcomes) / max(result.seconds, 1e-3)
        for warning in result.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._emit(Warned(warning))
        for number, outcome in result.outcomes:
            listener.picture(number, outcome)
        if result.rows:
            listener.extracted(result.rows)

    def _tell_if_nothing_starts(self) -> None:
        is_waiting = not any(process.machine for process in self._processes)
        if is_waiting and not self._told and time.monotonic() - self._began > _PATIENCE_SECONDS:
            self._told = True
            have = Counter[str]()
            for machine in self._machines():
                have.update({name: int(number) for name, number in machine.items() if name in ("CPU", "GPU")})
            found = ", ".join(f"{name}={number}" for name, number in have.items()) or "none of these"
            self._emit(
                Warned(
                    f"no process has started on Ray in {_PATIENCE_SECONDS:.0f} s: each wants {self._shown}, the "
                    f"cluster has {found} in all; still waiting. Give other --ray-resources, or add machines"
                )
            )

    def _stop(self) -> None:
        """Let the processes save what they did of the parts in their hands."""
        for process in self._processes:
            if process.machine is not None:
                process.actor.stop.remote()
        calls = [reference for reference, (_, part) in self._calls.items() if part is not None]
        if calls:
            self._ray.wait(calls, num_returns=len(calls), timeout=_STOP_SECONDS)
