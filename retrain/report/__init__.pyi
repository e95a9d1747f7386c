from .contact_sheet import Example, check_place, write_sheet
from .plots import draw_curves
from .predictions import draw_predictions
from .tensorboard import write_summaries

__all__ = [
    "Example",
    "check_place",
    "draw_curves",
    "draw_predictions",
    "write_sheet",
    "write_summaries",
]
