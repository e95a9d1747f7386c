"""From the bytes of pictures to answers: decoded in threads, then scored in batches; each picture fails alone."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrain.data import decode_image, read_header
from retrain.errors import RetrainError, UnreadableImageError
from retrain.machine import cores
from retrain.model import Prediction
from retrain.options import ServingOptions
from retrain.report import overlay
from retrain.serving.admission import Admission
from retrain.serving.batches import Batcher
from retrain.serving.metrics import Metrics
from retrain.serving.models import ServedModel
from retrain.serving.problems import Problem

__all__ = ["Answer", "Answerer", "NoPicture"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class NoPicture:
    """What stands in a request where a picture should be."""

    error: str


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture."""

    scores: NDArray[np.float32] | None  # (classes,); None if there is an error
    error: str | None = None  # why there are none
    known: float | None = None  # in [0, 1], of a model that tells pictures of no class

    def prediction(self, model: ServedModel) -> Prediction:
        """The same as `retrain predict` says it, without a path."""
        if self.scores is None:
            return Prediction("", None, None, {}, self.error)
        return model.classifier.prediction("", [*self.scores.tolist(), *([] if self.known is None else [self.known])])


class Answerer:
    """Answers requests for predictions. For one event loop.

    Args:
        options: the limits.
        metrics: of the server.
    """

    def __init__(self, options: ServingOptions, metrics: Metrics) -> None:
        self._max_pixels, self._metrics = options.max_pixels, metrics
        self.admission = Admission(options.max_queue, 16 * options.max_body * 2**20)
        self._batcher = Batcher(options.max_batch, metrics.batch)
        self._decoders = ThreadPoolExecutor(cores(), "decode")
        # one at a time, for the memory that they take
        self._parser = ThreadPoolExecutor(1, "parse")
        self._explainer = ThreadPoolExecutor(1, "explain")

    def close(self) -> None:
        """End the threads."""
        self._batcher.close()
        for threads in (self._decoders, self._parser, self._explainer):
            threads.shutdown(wait=False, cancel_futures=True)

    async def answers(self, model: ServedModel, pictures: Sequence[bytes | NoPicture]) -> list[Answer]:
        """An answer for each picture. Raises Problem, also if no picture can be read."""
        if not pictures:
            raise Problem(400, "no picture in the request: send at least one")
        with self.admission.of_pictures(len(pictures)):
            found = await asyncio.gather(*(self._answer(model, picture) for picture in pictures))
        self._metrics.answered(model.name, sum(a.error is None for a in found), sum(a.error is not None for a in found))
        if all(answer.error is not None for answer in found):
            which = "" if len(found) == 1 else f"none of the {len(found):,} pictures can be read; the first: "
            raise Problem(400, f"{which}{found[0].error}")
        return found

    async def heat_map(self, model: ServedModel, picture: bytes, label: str | None) -> tuple[str, str, bytes]:
        """What spoke for a label: the label, how the map was made, and a PNG to lay over the picture. Raises Problem.

        Args:
            label: None: the most likely one; where it can have several, of those that it has if there are any.
        """
        if label is not None and label not in model.labels:
            raise Problem(400, f"the model {model.name} has no label {label!r:.80}")
        with self.admission.of_pictures(1):
            pixels = await self._pixels(model, picture)
            if isinstance(pixels, Answer):
                raise Problem(400, str(pixels.error))
            if label is None:
                label = str((await self._judged(model, pixels)).prediction(model).first_label)
            number = np.array([model.labels.index(label)])

            def explain() -> tuple[str, bytes]:
                maps, header = model.heat_maps(), read_header(picture, self._max_pixels)
                [mapped] = maps.of(pixels[np.newaxis], number)
                return maps.sentence, overlay(mapped, maps.form, (header.height, header.width))

            return label, *await asyncio.get_running_loop().run_in_executor(self._explainer, explain)

    async def aside(self, work: Callable[[], Result]) -> Result:
        """Do some work in a thread beside the event loop; one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._parser, work)

    async def _answer(self, model: ServedModel, picture: bytes | NoPicture) -> Answer:
        if isinstance(picture, NoPicture):
            return Answer(None, picture.error)
        pixels = await self._pixels(model, picture)
        return pixels if isinstance(pixels, Answer) else await self._judged(model, pixels)

    async def _pixels(self, model: ServedModel, picture: bytes) -> NDArray[np.uint8] | Answer:
        """A picture at the model's size, or why it can't be read."""
        start = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._decoders, decode_image, picture, model.classifier.description.form, self._max_pixels
            )
        except UnreadableImageError as error:
            return Answer(None, str(error))
        finally:
            self._metrics.decoded(time.perf_counter() - start)

    async def _judged(self, model: ServedModel, pixels: NDArray[np.uint8]) -> Answer:
        """Raises Problem."""
        start = time.perf_counter()
        try:
            row = await self._batcher.answer(model, pixels)
        except RetrainError as error:  # its message names the model's folder
            self._metrics.model_failed(model.name, str(error))
            raise Problem(503, f"the model {model.name} gives no scores", {"Retry-After": "10"}) from error
        finally:
            self._metrics.scored(model.name, time.perf_counter() - start)
        scores, known = np.split(row, [len(model.labels)])
        return Answer(scores, known=known.item() if known.size else None)
