"""Batches: pictures of all requests that wait for the same model go through its network together.

A batch takes what waits when a place is free, so a lone picture never waits for company, and the more requests come at
once the larger batches get. There are two places, so that the network has the next batch when it has done one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.serving.models import ServedModel

__all__ = ["Batcher"]

_AT_ONCE = 2


@dataclass(frozen=True)
class _Waiting:
    """A picture that waits for its answer."""

    model: ServedModel
    pixels: NDArray[np.uint8]  # (height, width, 3)
    answer: asyncio.Future[NDArray[np.float32]]  # a row of `Classifier.answers`


class Batcher:
    """Gathers pictures to batches. For one event loop.

    Args:
        most: pictures of a batch.
        tell: is given the size of each batch.
    """

    def __init__(self, most: int, tell: Callable[[int], None]) -> None:
        self._most, self._tell = most, tell
        self._waiting: deque[_Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "batch")

    async def answer(self, model: ServedModel, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A row of `Classifier.answers` for a picture, (height, width, 3) uint8, RGB at the model's size.

        Raises what the model raises.
        """
        answer: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(model, pixels, answer))
        self._start()
        return await answer

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while len(self._running) < _AT_ONCE and (batch := self._next()):
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._start()

    def _next(self) -> list[_Waiting]:
        """The next batch: the picture that waits longest, and others for its model.

        Pictures whose client is gone are left out.
        """
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        while self._waiting and len(batch) < self._most:
            picture = self._waiting.popleft()
            if picture.answer.done():
                continue
            if batch and picture.model is not batch[0].model:
                others.append(picture)
            else:
                batch.append(picture)
        self._waiting.extendleft(reversed(others))
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        self._tell(len(batch))
        classifier = batch[0].model.classifier

        def answers() -> NDArray[np.float32]:
            return classifier.answers(np.stack([picture.pixels for picture in batch]))

        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._threads, answers)
        except Exception as error:  # noqa: BLE001 - each request of the batch gets it, and says or logs it
            for picture in batch:
                if not picture.answer.done():
                    picture.answer.set_exception(error)
            return
        for picture, row in zip(batch, rows, strict=True):
            if not picture.answer.done():
                picture.answer.set_result(row)
