"""What is known of a run, made by hand."""

from retrain.events import Evaluated
from retrain.options import RunOptions, TrainingOptions
from retrain.report.run import Run


def make_record(**changes):
    """As run.json has it, of a short run with lbfgs."""
    options = RunOptions(training=TrainingOptions(optimizer="lbfgs")).as_dict() | {"steps": 20}
    return {
        "command": ["retrain", "train", "my pictures", "--optimizer", "lbfgs"],
        "image_dir": "/home/ada/my pictures",
        "options": options,
        "backbone": {
            "name": "inception_v3",
            "fingerprint": "ab" * 32,
            "height": 299,
            "width": 299,
            "bottleneck_size": 2048,
        },
        "training": {"steps": 20, "best_step": None},
        "fine_tuning": None,
        "extraction": {"cached": 80, "extracted": 10},
        "temperature": None,
        "timings": {"extraction_seconds": 1.5, "training_seconds": 0.5},
        "versions": {"retrain": "0.2.0", "python": "3.11.7"},
    } | changes


def make_run(**changes):
    record = make_record(**changes)
    history = [Evaluated(step, step / 20, 1.0, step / 30, 1.1) for step in range(20)]
    return Run("model", record, history, [], {}, "2026-11-29 14:03 UTC", "Apache-2.0")
