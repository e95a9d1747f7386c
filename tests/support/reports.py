"""Reports made by hand, for tests of the page: every part is there, in plausible figures."""

import functools
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from retrain.report.contents import (
    Absent,
    Calibration,
    Cell,
    ClassCounts,
    ClassRow,
    ComparedRun,
    Comparison,
    Confusion,
    CoOccurrence,
    Curves,
    Effort,
    Figure,
    Finding,
    Gallery,
    Group,
    Headline,
    LabelCurve,
    LabelHeadline,
    LabelPair,
    LabelReport,
    LabelRow,
    LearningCurve,
    LearningPoint,
    Neighbour,
    Pair,
    Picture,
    Recipe,
    ReliabilityBin,
    Report,
    Score,
    Series,
    Stretch,
    Thresholds,
)

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")

# What a file or a label may be called.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>'",
    "עברית \u202e gnp.exe",
    "x" * 200,
    "two\nlines",
    "\x1b[31mred\x1b]0;title\x07",
    "{{ 7 * 7 }}{% for %}",
    "</style></script><!--",
    "caf\udce9",
    "half \ud83d",
)


def make_report(labels=FLOWERS, pictures=(), per_class=20):
    """A full report of a model of these labels.

    Args:
        pictures: contents of thumbnails, JPEG; drawn ones if there are none.
    """
    thumbnails = list(pictures) or [draw_thumbnail(number) for number in range(12)]
    classes, rng = len(labels), np.random.default_rng(3)
    shown = tuple(_picture(number, labels, thumbnails) for number in range(max(24, 3 * min(classes, 60))))
    return Report(
        name="model",
        is_full=True,
        full_command="retrain report model",
        headline=_headline(classes, per_class),
        curves=Curves(
            (_stretch("Training the head", "step", 4000), _stretch("Fine-tuning", "epoch", 8)), "Of batches."
        ),
        confusion=_confusion(labels, per_class, len(shown)),
        classes=tuple(
            ClassRow(
                label, 80, 10, per_class, 0.9, 0.8 + 0.2 * rng.random(), 0.87, "" if n else "Only 7 training pictures"
            )
            for n, label in enumerate(labels)
        ),
        thresholds=_thresholds(labels, per_class),
        galleries=(
            _gallery("mistakes", "The surest mistakes", tuple(range(6)), labels),
            _gallery("unsure", "The least certain", tuple(range(6, 12)), labels),
            _gallery("right", "Right ones", (), labels),
        ),
        heat_maps="A heat map shows what spoke for the label.",
        calibration=_calibration(),
        findings=_findings(shown),
        learning=LearningCurve(
            tuple(
                LearningPoint(s, round(400 * s), 0.7 + 0.2 * s, (0.66 + 0.2 * s, 0.74 + 0.2 * s))
                for s in (0.1, 0.25, 0.5, 0.75, 1.0)
            ),
            500,
            "Twice as many pictures would bring about 2 more right ones of 100.",
        ),
        recipe=Recipe(
            "retrain train flowers --steps 4000 --calibrate",
            7,
            "3f9a1c2e",
            "inception_v3, 299 x 299 pixels, 2048 numbers per picture",
            "Apache-2.0",
            "/data/flowers",
            (("retrain", "0.3.0"), ("Python", "3.11.2")),
            (("--steps", "4000"), ("--calibrate", "yes")),
        ),
        pictures=shown,
    )


def make_quick_report(labels=FLOWERS):
    """A report from which everything is absent that can be."""
    absent = Absent("It takes longer than the quick report may.", "", "retrain report model")
    suspects = replace(absent, title="Labels that may be wrong")
    return replace(
        make_report(labels),
        is_full=False,
        curves=absent,
        confusion=absent,
        classes=(),
        thresholds=absent,
        galleries=absent,
        heat_maps=absent,
        calibration=absent,
        findings=(suspects, replace(suspects, title="Outliers")),
        learning=absent,
        pictures=(),
        headline=replace(
            _headline(5, 20),
            accuracy=Absent("There are no test pictures."),
            cross_entropy=None,
            cross_validated=absent,
            effort=Effort("2026-11-29 14:03 UTC", None, None, 480, 20),
            notes=(),
        ),
    )


def make_label_report(labels=FLOWERS):
    """A full report of a model that gives a picture several labels."""
    base, count = make_report(labels), len(labels)
    headline = base.headline
    pairs = tuple(
        tuple(LabelPair(3 + (a == b), 2 + a % 2, 0.6, 0.1 * (a != b)) for b in range(count)) for a in range(count)
    )
    curve = ((0.2, 1.0), (0.6, 0.9), (1.0, 0.4))
    return LabelReport(
        base.name,
        True,
        base.full_command,
        LabelHeadline(
            "64 of 100 test pictures get exactly the right labels.",
            "test",
            Figure(0.9, (0.86, 0.94), 100),
            0.83,
            0.81,
            0.64,
            Figure(0.91, (0.88, 0.93), 500),
            1.33,
            headline.notes,
            500,
            headline.effort,
        ),
        replace(base.curves, measure="exact match"),
        base.calibration,
        CoOccurrence("test", 100, tuple(labels), (20,) * count, pairs, ((labels[0], labels[1], 3),)),
        tuple(
            LabelRow(label, 90, 10, 10, 0.5, 0.9, None, 0.8, 0.85, "Only 7" * (n == 1))
            for n, label in enumerate(labels)
        ),
        tuple(LabelCurve(label, 20, 0.85, curve, (0.6, 0.9) if n else None, 0.5) for n, label in enumerate(labels)),
        base.galleries,
        base.heat_maps,
        base.findings,
        base.recipe,
        base.pictures,
    )


def make_comparison(names=("model-a", "model-b", "model-c")):
    """A comparison of three models."""
    runs = tuple(
        ComparedRun(
            name,
            "2026-11-29 14:03 UTC",
            "inception_v3",
            Figure(0.8 + n / 20, (0.7 + n / 20, 0.87 + n / 20), 100),
            0.31,
            Figure(0.9, (0.85, 0.94), 120),
        )
        for n, name in enumerate(names)
    )
    pairs = tuple(
        Pair(a, b, 3, 9, 0.146, "The difference may well be chance.") for a in range(3) for b in range(a + 1, 3)
    )
    return Comparison(100, runs, pairs, ("The models share 100 test pictures.",))


@functools.cache
def draw_thumbnail(number, side=160):
    """A picture as JPEG: a gradient of some colour."""
    rows = np.linspace(40, 215, side)[:, None, None]
    colour = np.array([(number * 53) % 200, (number * 97) % 200, (number * 29) % 200])[None, None, :]
    pixels = np.clip(rows + 0.4 * (colour - 100) + np.zeros((side, side, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@functools.cache
def draw_heat_map(side=8):
    """A transparent PNG with a red spot."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    alpha = 200 * np.exp(-12 * (x**2 + y**2))
    pixels = np.dstack([np.full((side, side), 230), 40 + 0 * x, 20 + 0 * x, alpha]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def _picture(number, labels, thumbnails):
    label, other = labels[number % len(labels)], labels[(number + 1) % len(labels)]
    best, second = (label, other) if number % 3 == 0 else (other, label)
    return Picture(
        _path(label, number),
        "train" if number % 5 == 4 else "test",
        label,
        (Score(best, 0.71), Score(second, 0.2)),
        thumbnails[number % len(thumbnails)],
        draw_heat_map(),
        best,
        tuple(Neighbour((number + n) % 24, 0.9 - n / 10) for n in (1, 2, 3)),
    )


def _headline(classes, per_class):
    return Headline(
        "9 of 10 test pictures are right. Tulips and roses are confused most.",
        "test",
        Figure(0.9, (0.826, 0.945), 100),
        0.312,
        Figure(0.91, (0.88, 0.93), 500),
        ("The test set has 100 pictures: the figure is rough.",),
        500,
        classes,
        Effort("2026-11-29 14:03 UTC", 192.4, 3.21, 480, 20),
    )


def _stretch(title, unit, last):
    places = tuple(np.linspace(last / 40, last, 40).tolist())
    rng = np.random.default_rng(1)
    series = []
    for name, best in (("train", 0.98), ("validation", 0.9)):
        smooth = best - 0.5 * np.exp(-np.linspace(0, 4, 40))
        raw = np.clip(smooth + rng.normal(0, 0.02, 40), 0, 1)
        series.append(
            Series(
                name,
                places,
                tuple(raw.tolist()),
                tuple((1.2 - raw).tolist()),
                tuple(smooth.tolist()),
                tuple((1.2 - smooth).tolist()),
            )
        )
    return Stretch(title, unit, tuple(series), last * 0.8 if unit == "epoch" else None)


def _confusion(labels, per_class, shown):
    classes, cells = len(labels), []
    for true in range(classes):
        other = (true + 1) % classes
        wrong = min(per_class, 1 + true % 4) if other != true else 0
        if wrong < per_class:
            cells.append(Cell(true, true, per_class - wrong, (per_class - wrong) / per_class, (3 * true % shown,)))
        if wrong:
            cells.append(
                Cell(true, other, wrong, wrong / per_class, ((3 * true + 1) % shown, (3 * true + 2) % shown)[:wrong])
            )
    pairs = sorted((cell for cell in cells if cell.true != cell.given), key=lambda cell: -cell.count)[:100]
    return Confusion(
        "test", classes * per_class, tuple(labels), (per_class,) * classes, tuple(cells), classes <= 50, tuple(pairs)
    )


def _thresholds(labels, per_class):
    steps = tuple(round(number / 20, 2) for number in range(21))
    answered = tuple(round(per_class * (1 - 0.5 * step)) for step in steps)
    right = tuple(max(0, count - round(4 * (1 - step))) for count, step in zip(answered, steps, strict=True))
    rows = tuple(ClassCounts(label, per_class, answered, right) for label in labels)
    n = len(labels)
    return Thresholds(
        "test",
        n * per_class,
        steps,
        tuple(n * count for count in answered),
        tuple(n * count for count in right),
        rows,
        0.7,
        "From a score of 0.70 on, 19 of 20 answers are right.",
    )


def _gallery(name, title, pictures, labels):
    explanation = "The model is sure of these, and wrong." if pictures else "There are none."
    return Gallery(
        name,
        title,
        explanation,
        pictures,
        40 if pictures else 0,
        tuple(_path(labels[n % len(labels)], n) for n in pictures),
    )


def _calibration():
    bins = tuple(ReliabilityBin(b / 10, (b + 1) / 10, 5 + b, b / 10 + 0.05, b / 10) for b in range(3, 10))
    before = tuple(replace(one, score=min(1.0, one.score + 0.04)) for one in bins)
    return Calibration(
        "test", 100, bins, 0.031, before, 0.084, 1.7, "A score of 0.8 means that 8 of 10 are right, nearly."
    )


def _findings(pictures):
    copies = tuple(Group((n, n + 1), "One picture, two labels") for n in (0, 2))
    return (
        Finding(
            "unreadable",
            "Files that can't be read",
            "3 files can't be read.",
            (Group((), "cut short", ("roses/broken.jpg",)),),
            3,
            ("roses/broken.jpg",),
        ),
        Finding(
            "two-labels",
            "The same picture under two labels",
            "Keep one of each.",
            copies,
            2,
            tuple(p.path for p in pictures[:4]),
        ),
        Finding(
            "leaks",
            "The same picture in training and test",
            "They flatter the model.",
            copies[:1],
            1,
            (pictures[0].path,),
            Figure(0.88, (0.8, 0.93), 95),
        ),
        Finding(
            "suspects",
            "Labels that may be wrong",
            "Look at these first.",
            tuple(Group((n,), "roses; the others say tulips (0.98)") for n in range(4)),
            40,
            tuple(p.path for p in pictures),
        ),
        Finding("outliers", "Pictures unlike all of their class", "None was found.", (), 0),
        Absent("There are too few classes.", "Classes that are too small"),
    )


def _path(label, number):
    """Half a character may come from JSON, but is in no path."""
    return f"{label}/{number:04}.jpg".replace("\ud83d", "?")
