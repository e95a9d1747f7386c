"""A model folder as formats are made of it, without cache and network: its files, and pictures it was trained on."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain.backbones import check_graph, check_saved_model, outline
from retrain.data import decode_image, read_picture
from retrain.errors import ExportError, ModelFolderError, UnreadableImageError
from retrain.events import Emit, Prepared
from retrain.folders import complete_folder
from retrain.model import ModelDescription, list_files, read_description, read_file
from retrain.model_files import GRAPH, SAVED_MODEL
from retrain.paths import display_path

if TYPE_CHECKING:
    from retrain._tensorflow import tf

__all__ = ["StoredModel"]


@dataclass(frozen=True)
class StoredModel:
    """A model folder. Its files are checked against the SHA-256 in run.json when they are read."""

    model_dir: str
    trust: bool = False  # run its graph even if it has operations that do more than compute
    training_pictures: Sequence[str] = ()  # paths of pictures that it was trained on, the more varied the sooner

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return complete_folder(Path(os.path.realpath(self.model_dir)))

    @cached_property
    def description(self) -> ModelDescription:
        """What run.json says of it. Raises ModelFolderError."""
        return read_description(self.folder)

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""
        return self.description.labels

    def read(self, name: str) -> bytes:
        """A file of the folder. Raises ExportError if the model has none of that name, ModelFolderError for damage."""
        if not (self.folder / name).exists():
            why = (
                ": its backbone is an ONNX network, which can be exported as onnx and openvino"
                if self.description.is_onnx
                else ""
            )
            raise ExportError(f"the model {display_path(self.model_dir)} has no {name}, of which it would be made{why}")
        return read_file(self.folder, name, self.description)

    @cached_property
    def graph(self) -> bytes:
        """graph.pb, which was found to do nothing but compute, unless it is trusted. `Trunk` tells its inputs.

        Raises ExportError if the model has none, ModelFolderError.
        """
        data, where = self.read(GRAPH), display_path(self.folder / GRAPH)
        if not self.trust:
            try:
                check_graph(outline(data)[0], f"the graph {where}", ModelFolderError)
            except DecodeError as error:
                raise ModelFolderError(f"{where} is damaged ({error}): train the model again") from error
        return data

    @property
    def graph_def(self) -> "tf.compat.v1.GraphDef":
        """The same, parsed by TensorFlow."""
        from retrain.model import parse_graph

        return parse_graph(self.graph, display_path(self.folder / GRAPH))

    def saved_model_files(self) -> Iterator[tuple[str, bytes]]:
        """The path below saved_model/ and the content of each file, one after the other.

        Raises ExportError if the model has none, ModelFolderError if one is damaged, or does more than compute without
        being trusted.
        """
        names = [name for name in list_files(self.folder) if name.startswith(f"{SAVED_MODEL}/")]
        if not names:
            raise ExportError(
                f"the model {display_path(self.model_dir)} has no {SAVED_MODEL}/, of which it would be made"
            )
        for name in names:
            content = self.read(name)
            if name == f"{SAVED_MODEL}/saved_model.pb" and not self.trust:
                self._check_saved_model(content, display_path(self.folder / SAVED_MODEL))
            yield name.partition("/")[2], content

    def _check_saved_model(self, content: bytes, where: str) -> None:
        from retrain._tensorflow import parse_saved_model

        try:
            check_saved_model(parse_saved_model(content), f"the SavedModel {where}", ModelFolderError)
        except DecodeError as error:
            raise ModelFolderError(f"{where} is damaged ({error}): train the model again") from error

    def training_pixels(self, count: int, what: str, emit: Emit) -> NDArray[np.uint8]:
        """Some pictures that it was trained on: (n, height, width, 3) uint8, RGB, at most `count`.

        Args:
            what: they are for, in the words to show: "quantising".
        Raises ExportError if there is none that can be read.
        """
        found: list[NDArray[Any]] = []
        total = min(count, len(self.training_pictures))
        for path in self.training_pictures:
            if len(found) == total:
                break
            try:
                found.append(decode_image(read_picture(path), self.description.form))
            except UnreadableImageError:
                continue
            emit(Prepared(f"reading pictures for {what}", len(found), total))
        if not found:
            raise ExportError(
                f"{what} needs some of the pictures that the model was trained on, and there are none where they were: "
                "give a folder of such pictures as --pictures DIR"
            )
        return np.stack(found)
