"""Bottlenecks for TensorBoard's Embedding Projector (tensorboard/plugins/projector)."""

import os
from pathlib import Path

import numpy as np

from retrain.errors import OutputError
from retrain.files import write_whole
from retrain.paths import display_path
from retrain.report.judged import Judged
from retrain.text import shown

__all__ = ["write_projector"]

_MOST = 10_000  # pictures: a browser can't turn more of them


def write_projector(pictures: Judged, folder: str | os.PathLike[str]) -> None:
    """Write projector_config.pbtxt into a folder of TensorBoard's, and what it names into its sub-folder `projector`.

    Of more than 10,000 pictures, that many at equal distances are taken. Raises OutputError.
    """
    count = len(pictures)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(np.int64))
    vectors = np.ascontiguousarray(pictures.vectors[chosen], "<f4")
    rows = ["label\tset\tpredicted\tpath"]
    for number in chosen.tolist():
        label, given = pictures.label_of(number), pictures.answers_of(number)[0].label
        rows.append("\t".join(map(shown, (label, str(pictures.sets[number]), given, pictures.paths[number]))))
    config = (
        'embeddings {\n  tensor_name: "bottlenecks"\n  tensor_path: "projector/bottlenecks.bytes"\n'
        f"  tensor_shape: {len(vectors)}\n  tensor_shape: {vectors.shape[1]}\n"
        '  metadata_path: "projector/metadata.tsv"\n}\n'
    )
    place = Path(folder)
    try:
        (place / "projector").mkdir(parents=True, exist_ok=True)
        write_whole(place / "projector" / "bottlenecks.bytes", vectors.tobytes())
        write_whole(place / "projector" / "metadata.tsv", ("\n".join(rows) + "\n").encode("utf-8", "backslashreplace"))
        write_whole(place / "projector_config.pbtxt", config.encode())
    except OSError as error:
        raise OutputError(f"can't write for the projector into {display_path(folder)}: {error.strerror}") from error
