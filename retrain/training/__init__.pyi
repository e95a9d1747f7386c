from .calibration import Calibration, calibrate
from .fine_tuning import FineTunedBackbone, FineTuning, FineTuningPlan
from .fold_trainer import FoldResult, FoldTrainer
from .head_trainer import HeadTrainer, Snapshots, TrainedHead
from .learning_curve import CurvePoint, CurveRecorder, figures_of
from .rejection import RejectionFit, StrangerFigures, fewest_for, figures_of_strangers, fit_rejection
from .tuning import Tuning, choose_folds, tune

__all__ = [
    "Calibration",
    "CurvePoint",
    "CurveRecorder",
    "FineTunedBackbone",
    "FineTuning",
    "FineTuningPlan",
    "FoldResult",
    "FoldTrainer",
    "HeadTrainer",
    "RejectionFit",
    "Snapshots",
    "StrangerFigures",
    "TrainedHead",
    "Tuning",
    "calibrate",
    "choose_folds",
    "fewest_for",
    "figures_of",
    "figures_of_strangers",
    "fit_rejection",
    "tune",
]
