"""The names in a model folder. They stand below all rooms, because a walk over pictures knows a model by its files."""

__all__ = [
    "CLASSIFIER",
    "CURVES",
    "CURVES_PLOT",
    "EXPORTS",
    "EXPORT_RECORD",
    "FINE_TUNING",
    "FOLDERS",
    "GRAPH",
    "HEAD",
    "HISTORY",
    "LABELS",
    "LOGS",
    "METRICS",
    "MODEL_CARD",
    "NAMES",
    "ONNX_CLASSIFIER",
    "PREDICTIONS",
    "PREDICTIONS_SHEET",
    "REPORT",
    "RUN",
    "SAVED_MODEL",
    "SKIPPED",
    "THRESHOLDS",
    "TUNING",
]

GRAPH = "graph.pb"
CLASSIFIER = "classifier.tflite"
ONNX_CLASSIFIER = "classifier.onnx"  # in place of graph, LiteRT and SavedModel, if the backbone is an ONNX network
LABELS = "labels.txt"
THRESHOLDS = "thresholds.txt"  # of a model of several labels: a line for each of them
SAVED_MODEL = "saved_model"
HEAD = "head.h5"
RUN = "run.json"  # written last: it makes the folder a model
HISTORY = "history.csv"
FINE_TUNING = "fine_tuning.csv"
TUNING = "tuning.csv"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
PREDICTIONS_SHEET = "predictions.png"
CURVES = "curves.csv"
CURVES_PLOT = "curves.png"
SKIPPED = "skipped.csv"
LOGS = "logs"
REPORT = "report.html"  # can be made again, so no digest holds it
MODEL_CARD = "README.md"

EXPORTS = "exports"  # a folder for each format of `retrain export`; no list of run.json's has what is in it
EXPORT_RECORD = "export.json"  # in such a folder: says what is in it

FOLDERS = frozenset({SAVED_MODEL, LOGS, EXPORTS})
NAMES = FOLDERS | {
    *(GRAPH, CLASSIFIER, ONNX_CLASSIFIER, LABELS, THRESHOLDS, HEAD, RUN, HISTORY, FINE_TUNING, TUNING, METRICS),
    *(PREDICTIONS, PREDICTIONS_SHEET, CURVES, CURVES_PLOT, SKIPPED, REPORT, MODEL_CARD),
}
