"""The formats that a model can be exported in."""

import importlib.util

from retrain.errors import MissingPackageError
from retrain.export.export_format import ExportFormat, Facts
from retrain.export.graph_format import GraphFormat
from retrain.export.keras_format import KerasFormat
from retrain.export.onnx_format import OnnxFormat
from retrain.export.openvino_format import OpenVinoFormat
from retrain.export.saved_model_format import SavedModelFormat
from retrain.export.tflite_format import TFLITE_FORMATS
from retrain.text import listing

__all__ = ["FORMATS", "check_installed", "missing_packages"]

_ALL: tuple[ExportFormat, ...] = (
    *(GraphFormat(), SavedModelFormat(), KerasFormat()),
    *TFLITE_FORMATS,
    *(OnnxFormat(), OpenVinoFormat(), OpenVinoFormat(is_int8=True)),
)

FORMATS: dict[str, ExportFormat] = {one.facts.name: one for one in _ALL}  # as options.EXPORT_FORMATS names them


def missing_packages(facts: Facts) -> list[str]:
    """The packages that a format needs and that are not installed. None is imported."""
    return [name for name in facts.packages if importlib.util.find_spec(name) is None]


def check_installed(name: str) -> None:
    """Raise MissingPackageError if a format needs packages that are not installed."""
    facts = FORMATS[name].facts
    missing = missing_packages(facts)
    if missing:
        remedy = f"pip install 'retrain[{facts.extra}]'" if facts.extra else f"pip install {' '.join(missing)}"
        raise MissingPackageError(f"the format {name} needs {listing(missing)}, not installed here: {remedy}")
