from .builder import build_report
from .card import model_card
from .contact_sheet import Example, check_place, write_sheet
from .contents import Absent, ComparedRun, Comparison, Figure, LabelReport, Pair, Report
from .heat_maps import HeatMaps, heat_maps_of, overlay
from .held_out import FoldHeads
from .html import PageKind
from .judged import JudgedPictures
from .judged_labels import JudgedLabels
from .label_builder import build_label_report
from .live import Answers, CurveStep, LiveReport, live_report, suspects_of, untrained_report
from .look_alikes import LookAlikes
from .page import render_comparison, render_report
from .plots import draw_curves
from .predictions import draw_predictions
from .projector import write_projector
from .run import Run, recipe_of, rejection_sentence
from .sources import Sources, Work
from .tensorboard import write_summaries
from .thumbnails import PictureFiles

__all__ = [
    "Absent",
    "Answers",
    "ComparedRun",
    "Comparison",
    "CurveStep",
    "Example",
    "Figure",
    "FoldHeads",
    "HeatMaps",
    "JudgedLabels",
    "JudgedPictures",
    "LabelReport",
    "LiveReport",
    "LookAlikes",
    "PageKind",
    "Pair",
    "PictureFiles",
    "Report",
    "Run",
    "Sources",
    "Work",
    "build_label_report",
    "build_report",
    "check_place",
    "draw_curves",
    "draw_predictions",
    "heat_maps_of",
    "live_report",
    "model_card",
    "overlay",
    "recipe_of",
    "rejection_sentence",
    "render_comparison",
    "render_report",
    "suspects_of",
    "untrained_report",
    "write_projector",
    "write_sheet",
    "write_summaries",
]
