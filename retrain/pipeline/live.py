"""A model that follows its folder: what changed is extracted, and the head is trained again."""

from collections.abc import Callable, Sequence

from retrain.events import Emit, ignore
from retrain.model import Prediction
from retrain.options import PictureSource, RunOptions
from retrain.pipeline.results import WrittenModel
from retrain.pipeline.train import train
from retrain.report import LiveReport

__all__ = ["LiveModel", "UpdateCancelled"]


class UpdateCancelled(Exception):
    """An update was stopped, because `cancelled` said so. What was extracted is kept."""


def never() -> bool:
    """Don't cancel."""
    return False


class LiveModel:
    """The model of a folder, kept up to date.

    One thread may call `update` and `look_closer`, while others call `classify`.

    Args:
        image_dir: one sub-folder of pictures per class.
        options: as `retrain train` takes them, without tuning, distorted copies, fine-tuning and calibration.
        emit: called with events; see `retrain.events`.
        cancelled: asked often during an update; once it says True, the update ends with UpdateCancelled.
    Raises UsageError, BackboneError.
    """

    def __init__(
        self,
        image_dir: PictureSource,
        options: RunOptions = RunOptions(),
        emit: Emit = ignore,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        self._image_dir, self._options, self._emit, self._cancelled = image_dir, options, emit, cancelled
        self._version = 0

    def update(self) -> LiveReport:
        """Train on the folder as it is now. A folder that can't be trained gives a report that says why.

        Raises UpdateCancelled; RetrainError where the folder is not to blame.
        """
        self._version += 1
        return LiveReport(self._version, problem="not built yet")

    def look_closer(self) -> LiveReport:
        """The last report, with what takes longer: suspects, and copies across sets. Raises UpdateCancelled."""
        return LiveReport(self._version, problem="not built yet")

    def classify(self, contents: Sequence[bytes]) -> list[Prediction]:
        """What the last model says of pictures, given as the contents of their files.

        Raises TrainingError while there is no model.
        """
        raise NotImplementedError

    def save(self, model_dir: str) -> WrittenModel:
        """Write the model folder, as `retrain train` with the same options does. Raises RetrainError."""
        return train(self._image_dir, model_dir, self._options, self._emit)
