"""The exceptions that a user can cause. Each message says what is wrong, where, what was found and what to do."""

__all__ = [
    "BackboneError",
    "BackboneUnavailableError",
    "CacheError",
    "ImageFolderError",
    "Interrupted",
    "LabelsFileError",
    "ModelFolderError",
    "OutputError",
    "RetrainError",
    "TrainingError",
    "UnreadableImageError",
    "UsageError",
]


class RetrainError(Exception):
    """Base of all errors of this package; the command line shows one as a single line and exits with 1."""


class UsageError(RetrainError):
    """An option has a value that makes no sense, whatever the data; the command line exits with 2."""


class ImageFolderError(RetrainError):
    """The folder of pictures can't be used: missing, empty, one class only, too few pictures in a class."""


class LabelsFileError(RetrainError):
    """The file that gives class folders their labels can't be read or understood."""


class UnreadableImageError(RetrainError):
    """One file is not a picture, is damaged, or is too large; its message is the reason alone, without the path."""


class BackboneError(RetrainError):
    """The backbone is unknown, can't be had, or doesn't do what a feature extractor must."""


class BackboneUnavailableError(BackboneError):
    """The backbone's weights are not on this machine and can't be downloaded."""


class CacheError(RetrainError):
    """The bottleneck cache can't be read or written."""


class TrainingError(RetrainError):
    """The head can't be trained on these bottlenecks."""


class ModelFolderError(RetrainError):
    """A model folder is missing, incomplete, from another version, or its files don't belong together."""


class OutputError(RetrainError):
    """A result can't be written where the user wants it."""


class Interrupted(RetrainError):
    """The user stopped the work (Ctrl-C, SIGTERM); what was done is kept, and the message says how far it came."""
