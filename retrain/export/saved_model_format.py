"""The format `saved-model`: picture bytes in, scores and labels out, for TensorFlow and TensorFlow Serving."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole
from retrain.model import KNOWN
from retrain.model_files import SAVED_MODEL

__all__ = ["SavedModelFormat"]


class SavedModelFormat:
    """Copies saved_model/."""

    facts = Facts(
        name="saved-model",
        file=SAVED_MODEL,
        loaded_by="TensorFlow and TensorFlow Serving",
        takes="image_bytes: (n,) the bytes of pictures; signature pixels: (n, height, width, 3) float32 in [0, 1]",
        packages=("tensorflow",),
    )

    def write(self, model: StoredModel, folder: Path, _: Emit) -> None:
        """Write saved_model/. Raises ExportError, ModelFolderError, OSError."""
        top = folder / SAVED_MODEL
        (top / "assets").mkdir(parents=True)  # TensorFlow wants it, though it is empty
        for name, content in model.saved_model_files():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(top / name, content)

    def load(self, folder: Path) -> "SavedModelRuntime":
        """Load it with TensorFlow."""
        return SavedModelRuntime(folder / SAVED_MODEL)


class SavedModelRuntime:
    """A `Runtime` of both signatures."""

    inputs: Mapping[str, Takes] = {"serving_default": "file", "pixels": "pixels"}

    def __init__(self, path: Path) -> None:
        from retrain._tensorflow import tf

        self._loaded = tf.saved_model.load(os.fspath(path))  # its functions live as long as it does
        self._constant = tf.constant
        self._signatures = {name: self._loaded.signatures[name] for name in self.inputs}
        _, arguments = self._signatures["pixels"].structured_input_signature
        answer = self._signatures["pixels"](pixels=tf.zeros([1, *arguments["pixels"].shape[1:]]))
        self.labels = [label.decode() for label in answer["labels"].numpy()[0]]
        self.thresholds = tuple(answer["thresholds"].numpy()[0].tolist()) if "thresholds" in answer else None

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers for a batch."""
        if name == "pixels":
            answer = self._signatures[name](pixels=self._constant(np.asarray(pictures, np.float32) / 255))
        else:
            answer = self._signatures[name](image_bytes=self._constant(pictures))
        known = answer.pop(KNOWN, None)
        [scores] = [value for key, value in answer.items() if key not in ("labels", "thresholds")]
        found: NDArray[np.float32] = scores.numpy()
        return found if known is None else np.hstack([found, known.numpy()])
