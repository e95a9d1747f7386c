"""The model folder: put it in place as a whole, and read it back without trusting it."""

import csv
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from retrain.data import DECODER_VERSION, SETS, ClassNames, PictureForm, is_litter, unusual, what_else
from retrain.errors import ModelFolderError, OutputError
from retrain.events import Emit, Warned, ignore
from retrain.files import write_whole
from retrain.folders import (
    Kind,
    UnfinishedError,
    check_replaceable,
    complete_folder,
    must_stay,
    read_consistently,
    replace_folder,
    settled,
    staging_folder,
)
from retrain.json_fields import FieldError, Fields, parse_json, shown_value
from retrain.model.exported import files_of_exports
from retrain.model.rejection import KNOWN, Limit
from retrain.model_files import (
    FOLDERS,
    GRAPH,
    HEAD,
    LABELS,
    MODEL_CARD,
    NAMES,
    ONNX_CLASSIFIER,
    PREDICTIONS,
    REPORT,
    RUN,
    SAVED_MODEL,
    THRESHOLDS,
)
from retrain.options import DEPTH_RULES, FITS
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = [
    "FORMATS",
    "MODEL",
    "ModelDescription",
    "check_destination",
    "list_files",
    "own_card",
    "own_files",
    "parse_thresholds",
    "read_description",
    "read_file",
    "read_labels",
    "read_model_tables",
    "read_record",
    "read_sets",
    "read_thresholds",
    "seal",
    "thresholds_text",
    "write_labels",
    "write_model_folder",
    "write_thresholds",
]

Written = TypeVar("Written")

# Of the folder. Readers of the first know one label for each picture of a usual form, and would misread the others.
FORMATS = (1, 2)

_EMPTY_FOLDER = f"{SAVED_MODEL}/assets"  # TensorFlow needs it, and no list of files has it
_MODEL_ALONE = frozenset({GRAPH, HEAD, SAVED_MODEL})  # a folder with any of these held a model

_PERMISSIONS = "check its permissions or use another --model-dir"
_REMEDIES = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.ENOSPC: "make room or use another --model-dir",
    errno.EDQUOT: "make room or use another --model-dir",
    errno.EROFS: "mount it so that it can be written, or use another --model-dir",
    errno.ELOOP: "its links lead in a circle: use another --model-dir",
}
_MOST_BYTES = 2**31  # of a file; a graph can hold no more
_MOST_PIXELS = 16384  # of a side of a network's pictures
_MOST_NUMBERS = 2**24  # of a bottleneck
_BACKBONE_NAME = r"[\w-][\w.-]{0,119}"  # the cache names a folder after it
_TENSOR_NAME = r"[A-Za-z0-9][A-Za-z0-9_]*"


@dataclass(frozen=True)
class ModelDescription:
    """What a program needs of run.json, checked."""

    labels: tuple[str, ...]
    class_folders: tuple[str, ...]  # of the training pictures, in the order of the labels
    final_tensor_name: str
    backbone_name: str
    height: int
    width: int
    bottleneck_size: int
    backbone_description: dict[str, Any]  # of the float32 backbone in the graph; its fingerprint is made of this
    digests: dict[str, str]  # file -> SHA-256, hexadecimal; earlier versions wrote none
    # (classes,) in [0, 1], if a picture can have several labels: it has those whose scores are at least this
    thresholds: tuple[float, ...] | None = None
    fit: str = PictureForm.fit
    depth: str = PictureForm.depth
    limit: Limit | None = None  # of a model that tells pictures of no class

    @property
    def form(self) -> PictureForm:
        """The form in which the network sees pictures."""
        return PictureForm(self.height, self.width, self.fit, self.depth)

    @property
    def claimed_backbone(self) -> dict[str, Any]:
        """The description of the backbone that run.json names, as pass one of this version describes it.

        A model of another version of the decoder sees pictures through this one's, which has bottlenecks of its own.
        """
        return self.backbone_description | {"decoder": DECODER_VERSION}

    def backbone_by(self, kind: str, digest: str) -> dict[str, Any]:
        """The description of the backbone in one of the model's files, known by the SHA-256 of that part alone."""
        return {
            kind: digest,
            "input_size": [self.height, self.width],
            "decoder": DECODER_VERSION,
            "precision": "float32",
            "cut": "bottleneck",
        } | unusual(self)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives: the scores and, if it tells it, `known`."""
        return (self.final_tensor_name,) if self.limit is None else (self.final_tensor_name, KNOWN)

    @property
    def answer_length(self) -> int:
        """How many numbers that is for a picture."""
        return len(self.labels) + len(self.outputs) - 1

    @property
    def is_onnx(self) -> bool:
        """Whether its backbone is an ONNX network, so that it has classifier.onnx and no form of TensorFlow's."""
        return ONNX_CLASSIFIER in self.digests

    @property
    def class_names(self) -> ClassNames:
        """The labels, and the folders of the training pictures."""
        return ClassNames(self.labels, self.class_folders)


def check_destination(
    model_dir: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] = "",
    emit: Emit = ignore,
) -> None:
    """Check, before any work is done, that a model folder can be written.

    Args:
        model_dir: the folder to write.
        cache_dir: may lie in it.
        emit: told if another run must be waited for.
    Raises OutputError if it is a file, holds other things, can't be written, or has a name that TensorFlow can't use.
    """
    final = _resolved(Path(model_dir))
    where = display_path(model_dir)
    say = _waiting(where, emit)
    try:
        os.fspath(final).encode()
    except UnicodeEncodeError:
        raise OutputError(f"the model folder {where} has a name that is not UTF-8: use another --model-dir") from None
    try:
        with settled(final, MODEL, say):
            if final.is_dir():
                _check_content(final, where, os.path.realpath(cache_dir) if cache_dir else "")
            elif final.exists():
                raise OutputError(f"{where} is a file: give a folder as --model-dir")
            check_replaceable(final, NAMES)
        with staging_folder(final, say):
            pass
    except OSError as error:
        raise OutputError(_not_written(final, where, error)) from error


def _check_content(final: Path, where: str, cache_dir: str) -> None:
    """Raises OutputError if the folder holds other things and no model."""
    names = [name for name in sorted(os.listdir(final)) if not is_litter(name)]
    own = set(names) & NAMES
    for name in sorted(own):
        if (final / name).is_dir() != (name in FOLDERS):
            found, wanted = ("file", "folder") if name in FOLDERS else ("folder", "file")
            raise OutputError(
                f"the model folder {where} holds a {found} {name}, where a model has a {wanted}: "
                "move it away or use another --model-dir"
            )
    # where earlier versions replaced a model file by file, they left a part of it when killed
    is_part = bool(own & _MODEL_ALONE) and must_stay(final)
    foreign = [name for name in names if os.path.join(final, name) != cache_dir and not (is_part and name in own)]
    if foreign and not (final / RUN).is_file():
        raise OutputError(
            f"the model folder {where} holds other things ({listing(map(display_path, foreign), 3)}) and no model: "
            "give a new or empty folder for the model"
        )


def write_model_folder(
    model_dir: str | os.PathLike[str],
    write: Callable[[Path], Written],
    emit: Emit = ignore,
) -> Written:
    """Let `write` fill a folder beside the final one, then move it into place. An older model stays until then.

    Args:
        emit: told if another run is writing the same model folder and must be waited for.
    Returns what `write` returns. Raises OutputError if the disk is full or the folder can't be written.
    """
    final = _resolved(Path(model_dir))
    where = display_path(model_dir)
    say = _waiting(where, emit)
    try:
        with staging_folder(final, say) as staging:
            written = _fill(staging, where, write)
            replace_folder(staging, final, MODEL, say)
            return written
    except UnfinishedError as error:
        raise OutputError(
            f"the new model is complete and can be used, but not all of {where} is in its place yet "
            f"({_reason(final, where, error)}): the next training into it continues from there"
        ) from error
    except OSError as error:
        raise OutputError(f"{_not_written(final, where, error)}; what was there before is intact") from error


def _fill(staging: Path, where: str, write: Callable[[Path], Written]) -> Written:
    try:
        return write(staging)
    except OutputError as error:  # which should name the final place
        message = str(error).replace(display_path(staging), where)
        raise OutputError(f"{message}; what was there before is intact") from error


def _waiting(where: str, emit: Emit) -> Callable[[str], None]:
    return lambda who: emit(Warned(f"waiting for {who}, which is writing the model folder {where}"))


def _not_written(final: Path, where: str, error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "use another --model-dir")
    return f"can't write the model folder {where}: {_reason(final, where, error)}; {remedy}"


def _reason(final: Path, where: str, error: OSError) -> str:
    """Return why a file couldn't be written, and its name if the user knows it."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else final
    inside = path.relative_to(final).parts if path.is_relative_to(final) else ()
    named = f"{where}/{display_path('/'.join(inside))}: " if inside and not inside[0].startswith(".") else ""
    return f"{named}{error.strerror or error}"


def own_files(folder: Path) -> list[str]:
    """List what the program wrote into a model folder, as its run.json says; empty if there is no list."""
    try:
        listed = parse_json(_read_bytes(folder / RUN))["files"]
        # the report may have come after the list
        paths = [PurePosixPath(name) for name in [*listed, _EMPTY_FOLDER, REPORT]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    own = [str(path) for path in paths if path.parts and path.parts[0] in NAMES and ".." not in path.parts]
    return [*own, *files_of_exports(folder)]


MODEL = Kind(own_files, RUN)


def own_card(model_dir: str | os.PathLike[str]) -> bytes | None:
    """The README.md of a model folder, if it is the user's own, or was changed; None if there is none."""
    folder = complete_folder(Path(os.path.realpath(model_dir)))
    try:
        card = _read_bytes(folder / MODEL_CARD)
    except OSError:
        return None
    try:
        written = parse_json(_read_bytes(folder / RUN))["sha256"][MODEL_CARD]
    except (OSError, ValueError, KeyError, TypeError):
        written = None
    return None if hashlib.sha256(card).hexdigest() == written else card


def list_files(folder: Path) -> list[str]:
    """List all files below a folder, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def read_description(model_dir: str | os.PathLike[str]) -> ModelDescription:
    """Read and check run.json, labels.txt and, where pictures can have several labels, thresholds.txt.

    Raises ModelFolderError.
    """
    folder = Path(model_dir)
    where = display_path(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"no such model folder: {where}; make one with: retrain train IMAGE_DIR")
    try:
        data = _read_bytes(folder / RUN)
    except OSError as error:
        raise ModelFolderError(
            f"{where} is not a model folder: can't read run.json ({error.strerror}); "
            "make one with: retrain train IMAGE_DIR"
        ) from error
    try:
        run = Fields(parse_json(data))
        found = run.values.get("format")
        if found not in FORMATS:
            raise ModelFolderError(
                f"the model folder {where} is of format {shown_value(found)}, this version of retrain knows "
                f"{listing([str(known) for known in FORMATS])}: "
                "use the version that made it, or train again"
            )
        _check_seal(run.values)
        description = _description_of(run)
    except FieldError as error:
        raise ModelFolderError(
            f"{where}/run.json is damaged: {error}; put back the file that was written with the model, or train again"
        ) from error
    labels = read_labels(folder / LABELS)
    if tuple(labels) != description.labels:
        raise ModelFolderError(
            f"{where}/labels.txt does not fit the model: it has {counted(len(labels), 'label')} "
            f"({listing(labels, 3)}), the model {len(description.labels)} ({listing(description.labels, 3)}); "
            "put back the model's own labels.txt, or train again"
        )
    if description.thresholds is not None and read_thresholds(folder / THRESHOLDS) != description.thresholds:
        raise ModelFolderError(
            f"{where}/{THRESHOLDS} does not fit the model, whose run.json has other thresholds: put back the model's "
            f"own {THRESHOLDS}, or train again"
        )
    return description


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.json, which read_description() has checked. Raises ModelFolderError."""
    try:
        return Fields(parse_json(_read_bytes(folder / RUN))).values
    except (OSError, FieldError) as error:
        raise ModelFolderError(f"can't read run.json in {display_path(folder)}: {error}") from error


def read_model_tables(model_dir: str | os.PathLike[str]) -> tuple[dict[str, Any], str, float]:
    """Read run.json, predictions.csv as text, and when they were written (seconds since 1970).

    Raises ModelFolderError if they are missing or damaged.
    """

    def read(folder: Path) -> tuple[dict[str, Any], str, float]:
        description = read_description(folder)
        predictions = read_file(folder, PREDICTIONS, description).decode("utf-8", "replace")
        return read_record(folder), predictions, (folder / RUN).stat().st_mtime

    return read_consistently(Path(model_dir), MODEL, read)


def _description_of(run: Fields) -> ModelDescription:
    """Raises FieldError."""
    labels, backbone = run.texts("labels"), run.fields("backbone")
    class_folders = run.texts("class_folders") if run.values.get("class_folders") else labels  # version 0.1 has none
    if len(class_folders) != len(labels):
        raise FieldError(f"class_folders do not fit labels: {len(class_folders)} and {len(labels)}")
    graph = backbone.fields("graph") if "graph" in backbone else backbone  # the only one before version 0.2
    digests = run.fields("sha256") if "sha256" in run else Fields({})
    thresholds = run.reals("thresholds", len(labels)) if "thresholds" in run else None
    if thresholds and not all(0 <= threshold <= 1 for threshold in thresholds):
        raise FieldError(f"thresholds is {shown_value(list(thresholds))}, expected numbers from 0 to 1")
    wanted = "a SHA-256 of 64 hexadecimal digits"
    return ModelDescription(
        labels=labels,
        class_folders=class_folders,
        final_tensor_name=run.fields("options").text("final_tensor_name", _TENSOR_NAME, "letters, digits and _ only"),
        backbone_name=backbone.text("name", _BACKBONE_NAME, "letters, digits, dots, dashes and underlines only"),
        height=backbone.number("height", 1, _MOST_PIXELS),
        width=backbone.number("width", 1, _MOST_PIXELS),
        bottleneck_size=backbone.number("bottleneck_size", 1, _MOST_NUMBERS),
        backbone_description=graph.fields("description").values,
        digests={name: digests.text(name, "[0-9a-f]{64}", wanted) for name in digests.values},
        thresholds=thresholds,
        fit=backbone.choice("fit", FITS),
        depth=backbone.choice("depth", DEPTH_RULES),
        limit=_limit_of(run.fields("rejection")) if "rejection" in run else None,
    )


def _limit_of(rejection: Fields) -> Limit:
    """Raises FieldError."""
    [threshold], [scale] = rejection.reals("threshold", 1), rejection.reals("scale", 1)
    if scale <= 0:
        raise FieldError(f"rejection.scale is {shown_value(scale)}, expected a number above 0")
    return Limit(threshold, scale)


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """Return the content of run.json, with its SHA-256 as `digest`."""
    return record | {"digest": _digest_of(record)}


def _check_seal(run: dict[str, Any]) -> None:
    """Raises FieldError if run.json is not as it was written. Earlier versions wrote no digest."""
    if "digest" in run and run["digest"] != _digest_of(run):
        raise FieldError("its content does not fit its digest")


def _digest_of(run: dict[str, Any]) -> str:
    """Return the SHA-256 of all but the digest, as JSON with sorted keys."""
    rest = {name: value for name, value in run.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_file(folder: Path, name: str, model: ModelDescription) -> bytes:
    """Read a file of a model folder. Raises ModelFolderError if it is not the one that was written with the model.

    Earlier versions noted no digests. Their files are not checked.
    """
    where = display_path(folder / name)
    try:
        data = _read_bytes(folder / name)
    except OSError as error:
        raise ModelFolderError(f"can't read {where}: {error.strerror}; train the model again") from error
    if name in model.digests and hashlib.sha256(data).hexdigest() != model.digests[name]:
        raise ModelFolderError(
            f"{where} is damaged: it is not the file that was written with the model (run.json has its SHA-256); put "
            "back that file, or train the model again"
        )
    return data


def read_sets(folder: Path, model: ModelDescription) -> dict[str, str]:
    """Read which set each picture was in when the model was trained: SHA-256 of the file -> set."""
    try:
        text = read_file(folder, PREDICTIONS, model).decode("utf-8")
        rows = [(row["key"], row["set"]) for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    except KeyError as error:
        raise _bad_predictions(folder, f"it has no column {error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise _bad_predictions(folder, str(error)) from error
    for number, (key, name) in enumerate(rows, 1):
        if not re.fullmatch("[0-9a-f]{64}", key or ""):
            raise _bad_predictions(folder, f"key in row {number} is {key!r:.70}, expected 64 hexadecimal digits")
        if name not in SETS:
            raise _bad_predictions(folder, f"set in row {number} is {name!r:.30}, expected {', '.join(SETS)}")
    return dict(rows)


def _bad_predictions(folder: Path, reason: str) -> ModelFolderError:
    return ModelFolderError(
        f"can't read {display_path(folder)}/{PREDICTIONS}: {reason}; put back the file that was written with the "
        "model, or train the model again"
    )


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """Read labels.txt: one label a line, UTF-8. Raises ModelFolderError."""
    try:
        text = io.TextIOWrapper(io.BytesIO(_read_bytes(Path(path))), "utf-8").read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelFolderError(f"can't read {display_path(path)}: {reason}; train the model again") from error
    return text.removesuffix("\n").split("\n")


def write_labels(labels: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write labels.txt: one label a line, UTF-8, in the order of the outputs. Raises OSError."""
    write_whole(path, "".join(f"{label}\n" for label in labels).encode())


def read_thresholds(path: str | os.PathLike[str]) -> tuple[float, ...]:
    """Read thresholds.txt, as `parse_thresholds` does. Raises ModelFolderError."""
    try:
        return parse_thresholds(_read_bytes(Path(path)).decode("ascii"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelFolderError(f"can't read {display_path(path)}: {reason}; train the model again") from error


def write_thresholds(thresholds: Sequence[float], path: str | os.PathLike[str]) -> None:
    """Write thresholds.txt, as `thresholds_text` has it. Raises OSError."""
    write_whole(path, thresholds_text(thresholds).encode())


def thresholds_text(thresholds: Sequence[float]) -> str:
    """One number a line, in the order of the labels, with as many digits as it takes to read the same number again."""
    return "".join(f"{float(threshold)!r}\n" for threshold in thresholds)


def parse_thresholds(text: str) -> tuple[float, ...]:
    """The numbers in such a text. Raises ValueError."""
    return tuple(map(float, text.splitlines()))


def _read_bytes(path: Path) -> bytes:
    """Read a file. Raises OSError also if it is too large, or a pipe or device, which may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        kind = what_else(status.st_mode)
        if kind is not None:
            raise OSError(0, kind)
        if status.st_size > _MOST_BYTES:
            raise OSError(0, f"it has {status.st_size} bytes, more than it can have")
        return file.read(_MOST_BYTES)


def _resolved(folder: Path) -> Path:
    """Return the folder that a link leads to, so that the link stays."""
    return Path(os.path.realpath(folder))
