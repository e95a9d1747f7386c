"""What the report says: plain data, computed elsewhere, which the page shows.

`page.render_report` and `page.render_comparison` make HTML of a `Report` and a `Comparison`.

Texts are plain: no markup, and nothing in them is trusted. Labels and paths are as the user's files have them, bytes
that are not UTF-8 as surrogate escapes (`os.fsencode` gives the bytes back). Shares, scores and cosines are in [0, 1]
unless a field says otherwise. Pictures are referred to by their number in `Report.pictures`.
"""

from dataclasses import dataclass

__all__ = [
    "Absent",
    "Calibration",
    "Cell",
    "ClassCounts",
    "ClassRow",
    "CoOccurrence",
    "ComparedRun",
    "Comparison",
    "Confusion",
    "Curves",
    "Effort",
    "Figure",
    "Finding",
    "Gallery",
    "Group",
    "Headline",
    "LabelCurve",
    "LabelHeadline",
    "LabelPair",
    "LabelReport",
    "LabelRow",
    "LearningCurve",
    "LearningPoint",
    "Neighbour",
    "Pair",
    "Picture",
    "Recipe",
    "ReliabilityBin",
    "Report",
    "Score",
    "Series",
    "Stretch",
    "Thresholds",
]


@dataclass(frozen=True)
class Absent:
    """Stands where a part of the report would be, and says why it is not there."""

    reason: str  # a sentence or two: "There is no test set, so ..."
    title: str = ""  # of the part, where its place does not say it
    command: str | None = None  # the command that adds the part, if one does; can be pasted


@dataclass(frozen=True)
class Figure:
    """A share of pictures, and how far it can be trusted."""

    value: float
    interval: tuple[float, float]  # 95%
    n: int  # different pictures it is of


@dataclass(frozen=True)
class Score:
    """What the model gave a picture for a label."""

    label: str
    score: float


@dataclass(frozen=True)
class Neighbour:
    """A training picture that looks like another picture to the network."""

    picture: int
    cosine: float  # of the two bottlenecks, in [-1, 1]


@dataclass(frozen=True)
class Picture:
    """A picture that is shown somewhere in the report."""

    path: str  # relative to the image folder
    set: str  # train, validation, test, or unused: left out of the run
    label: str  # its own
    scores: tuple[Score, ...]  # the best two, best first. Empty for a picture that was not judged
    thumbnail: bytes | None = (
        None  # JPEG, at most 160 pixels wide and high. None: it could not be read, or there are too many
    )
    heat_map: bytes | None = None  # PNG with transparency, of any size, to be stretched over the thumbnail
    heat_label: str | None = None  # the label that the heat map is of
    neighbours: tuple[Neighbour, ...] = ()  # the nearest training pictures, nearest first, at most three

    @property
    def is_right(self) -> bool | None:
        """Whether the best label is its own. None if it was not judged."""
        return self.scores[0].label == self.label if self.scores else None


@dataclass(frozen=True)
class Effort:
    """When the model was made, and what it took."""

    made: str  # when the model was made: "2026-11-29 14:03 UTC"
    pass_one_seconds: float | None
    pass_two_seconds: float | None
    from_cache: int  # pictures whose bottlenecks were there already
    extracted: int  # pictures whose bottlenecks were computed


@dataclass(frozen=True)
class Headline:
    """How good the model is."""

    sentence: str  # "9 of 10 test pictures are right. Tulips and roses are confused most."
    set: str  # of which the figures are: test, or validation if there is no test set
    accuracy: Figure | Absent
    cross_entropy: float | None  # mean, in nats, of the same pictures
    cross_validated: Figure | Absent | None  # stands beside an accuracy of too few pictures. None: not needed
    notes: tuple[str, ...]  # sentences on what to make of it, the most important first
    pictures: int  # different ones, in all sets
    classes: int
    effort: Effort


@dataclass(frozen=True)
class Series:
    """A figure during training. All tuples have the same length, >= 1."""

    set: str  # train or validation
    places: tuple[float, ...]  # steps or epochs
    accuracy: tuple[float, ...]
    cross_entropy: tuple[float, ...]  # nats, >= 0
    smooth_accuracy: tuple[float, ...]
    smooth_cross_entropy: tuple[float, ...]


@dataclass(frozen=True)
class Stretch:
    """A part of training with its own scale: the training of the head, then fine-tuning."""

    title: str  # "Training the head", "Fine-tuning"
    unit: str  # of the places: step or epoch
    series: tuple[Series, ...]  # of train, and of validation if there are validation pictures
    kept: float | None  # the place whose weights were kept, if that is not the end


@dataclass(frozen=True)
class Curves:
    """Accuracy and cross-entropy during training."""

    stretches: tuple[Stretch, ...]  # one or more, in the order of time
    note: str  # what the figures are of
    measure: str = "accuracy"  # what accuracies are: of pictures with several labels, exact match


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix that has pictures."""

    true: int  # number of the row's label in `Confusion.labels`
    given: int  # number of the column's label
    count: int  # different pictures, >= 1
    share: float  # of the pictures of the true label
    pictures: tuple[int, ...]  # the surest first; not all, if there are many


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix. Cells that are not there have a count of 0."""

    set: str  # test, or validation if there is no test set
    n: int  # different pictures
    labels: tuple[str, ...]  # in an order that puts labels beside those that they are confused with
    totals: tuple[int, ...]  # pictures of each true label
    cells: tuple[Cell, ...]  # those on the diagonal too
    shows_matrix: bool  # False: too many classes for a matrix; show the most confused pairs
    pairs: tuple[Cell, ...]  # the cells off the diagonal, most pictures first; not all, if there are many


@dataclass(frozen=True)
class ClassRow:
    """One class. A ratio without a denominator is None."""

    label: str
    train: int  # different pictures
    validation: int
    test: int
    precision: float | None  # of the set that the headline is of, as are the next two
    recall: float | None
    f1: float | None
    note: str = ""  # "Only 7 training pictures" or nothing


@dataclass(frozen=True)
class ClassCounts:
    """One class at every threshold. All tuples are as long as `Thresholds.thresholds`."""

    label: str
    n: int  # different pictures of the class
    answered: tuple[int, ...]  # of these, whatever label they got
    right: tuple[int, ...]  # of the answered


@dataclass(frozen=True)
class Thresholds:
    """What happens if answers with a score below a threshold count as "not sure"."""

    set: str
    n: int  # different pictures
    thresholds: tuple[float, ...]  # rising, from 0 to 1
    answered: tuple[int, ...]  # pictures with a score of at least the threshold
    right: tuple[int, ...]  # of the answered
    per_class: tuple[ClassCounts, ...]
    suggested: float | None  # the lowest threshold from which on nearly all answers are right, if there is one
    sentence: str  # on the suggested threshold


@dataclass(frozen=True)
class Gallery:
    """Pictures to look at."""

    name: str  # mistakes, unsure or right: letters only, for the page's own use
    title: str  # "The surest mistakes"
    explanation: str
    pictures: tuple[int, ...]  # may be empty: then the explanation says so
    total: int  # how many there are in all
    paths: tuple[str, ...]  # of all of them


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures whose best scores are close to each other."""

    low: float  # the bin is (low, high]
    high: float
    count: int  # pictures, >= 1
    score: float  # their mean best score
    right: float  # the share of them that is right


@dataclass(frozen=True)
class Calibration:
    """Whether a score of 0.8 means that 8 of 10 are right."""

    set: str
    n: int
    bins: tuple[ReliabilityBin, ...]  # of the model as it is
    error: float  # expected calibration error
    before: tuple[ReliabilityBin, ...] | None  # without --calibrate. None if the model is not calibrated
    error_before: float | None
    temperature: float | None  # what the logits were divided by
    sentence: str


@dataclass(frozen=True)
class Group:
    """Pictures of a finding that belong together: the copies of one picture, or one suspect."""

    pictures: tuple[int, ...]
    text: str  # about the group: "roses; the others say tulips (0.98)"
    paths: tuple[str, ...] = ()  # files without a picture: those that can't be read


@dataclass(frozen=True)
class Finding:
    """Something about the user's pictures that is worth a look."""

    # letters and - only: unreadable, exact-copies, near-duplicates, two-labels, leaks, suspects, small-classes,
    # outliers
    name: str
    title: str  # "Pictures that are there twice"
    sentence: str  # what was found and what to do about it; also if nothing was found
    groups: tuple[Group, ...]  # the most important first; not all, if there are many
    total: int  # groups in all; 0: nothing was found
    paths: tuple[str, ...] = ()  # all paths, for the list that can be saved. Empty: there is no list to save
    figure: Figure | None = None  # of leaks: the test accuracy without them


@dataclass(frozen=True)
class LearningPoint:
    """Heads that were trained on a share of the training pictures."""

    share: float
    pictures: int  # that these heads were trained on, mean
    accuracy: float  # of pictures that they were not trained on, mean
    interval: tuple[float, float]  # 95%


@dataclass(frozen=True)
class LearningCurve:
    """How much more data would help."""

    points: tuple[LearningPoint, ...]  # rising shares, two or more
    n: int  # different pictures that each accuracy is of
    sentence: str


@dataclass(frozen=True)
class Recipe:
    """How to repeat the run."""

    command: str  # can be pasted. Empty if the run was started from Python
    seed: int
    fingerprint: str  # of the backbone
    backbone: str  # "inception_v3, 299 x 299 pixels, 2048 numbers per picture"
    licence: str  # of the backbone's weights
    image_dir: str
    versions: tuple[tuple[str, str], ...]  # program, version
    options: tuple[tuple[str, str], ...]  # option and value, of those that are not the default
    manifest: tuple[str, str] | None = None  # path and SHA-256, if one lists the pictures


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    name: str  # of the model folder
    is_full: bool  # False: the quick report, in which some parts are Absent
    full_command: str  # makes the full report; can be pasted
    headline: Headline
    curves: Curves | Absent
    confusion: Confusion | Absent
    classes: tuple[ClassRow, ...]
    thresholds: Thresholds | Absent
    galleries: tuple[Gallery, ...] | Absent
    heat_maps: str | Absent  # a sentence on how the heat maps were made
    calibration: Calibration | Absent
    findings: tuple[Finding | Absent, ...]  # about the user's pictures
    learning: LearningCurve | Absent
    recipe: Recipe
    pictures: tuple[Picture, ...]


# of models that give a picture several labels


@dataclass(frozen=True)
class LabelHeadline:
    """How good the model is."""

    sentence: str  # "8 of 10 test pictures get exactly the right labels. ..."
    set: str  # of which the figures are: test, or validation if there is no test set
    mean_average_precision: Figure | Absent
    micro_f1: float | None  # of the same pictures, as are the next three
    macro_f1: float | None
    exact_match: float | None
    cross_validated: Figure | Absent | None  # stands beside figures of too few pictures. None: not needed
    cross_entropy: float | None  # mean over the pictures of the sum over the labels, in nats
    notes: tuple[str, ...]
    pictures: int  # different ones, in all sets
    effort: Effort


@dataclass(frozen=True)
class LabelRow:
    """One label. A ratio without a denominator is None."""

    label: str
    train: int  # different pictures that have it
    validation: int
    test: int
    threshold: float  # the label is given from this score on
    precision: float | None  # of the set that the headline is of, as are the next three
    recall: float | None
    f1: float | None
    average_precision: float | None
    note: str = ""


@dataclass(frozen=True)
class LabelCurve:
    """What other thresholds of a label would bring."""

    label: str
    n: int  # pictures that have it, >= 1
    average_precision: float
    points: tuple[tuple[float, float], ...]  # (recall, precision), rising recall, one or more
    # of the label's own threshold; None if no picture is given the label
    chosen: tuple[float, float] | None
    threshold: float


@dataclass(frozen=True)
class LabelPair:
    """A label that pictures have, and one that they are given."""

    given: int  # pictures
    having: int  # pictures that have both labels
    share: float  # of the pictures that have the first label, those given the second
    wrong: float  # of the same pictures, those given the second and not having it


@dataclass(frozen=True)
class CoOccurrence:
    """Which labels come together: in truth, and in what the model says."""

    set: str  # test, or validation if there is no test set
    n: int  # different pictures
    labels: tuple[str, ...]
    totals: tuple[int, ...]  # pictures that have each label
    rows: tuple[tuple[LabelPair, ...], ...]  # [label that a picture has][label]; empty: too many labels for a matrix
    # the labels given wrongly beside another most often: both labels, and pictures; not all, if there are many
    worst: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class LabelReport:
    """Everything on the page of a model that gives a picture several labels."""

    name: str  # of the model folder
    is_full: bool
    full_command: str
    headline: LabelHeadline
    curves: Curves | Absent
    calibration: Calibration | Absent  # of all scores of all labels; "right" is that the picture has the label
    co_occurrence: CoOccurrence | Absent
    labels: tuple[LabelRow, ...]
    label_curves: tuple[LabelCurve, ...]  # the lowest average precision first; not all, if there are many
    galleries: tuple[Gallery, ...] | Absent
    heat_maps: str | Absent
    findings: tuple[Finding | Absent, ...]
    recipe: Recipe
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class ComparedRun:
    """One model of a comparison."""

    name: str  # its folder
    made: str
    backbone: str
    accuracy: Figure  # of the pictures that all models were tested on
    cross_entropy: float | None  # as the run gave it, of its own test pictures
    own: Figure | Absent  # accuracy on all of its own test pictures


@dataclass(frozen=True)
class Pair:
    """Two models on the same pictures."""

    first: int  # number of the run
    second: int
    only_first: int  # pictures that only the first got right
    only_second: int
    p_value: float  # of McNemar's exact test
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Several models on the same test pictures."""

    n: int  # different pictures
    runs: tuple[ComparedRun, ...]  # two or more, in the order given
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
