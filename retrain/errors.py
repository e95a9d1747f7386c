"""The errors that a user can cause. Each message says what is wrong, where, what was found and what to do."""

__all__ = [
    "BackboneError",
    "BackboneUnavailableError",
    "CacheError",
    "ClusterError",
    "ExportError",
    "ImageFolderError",
    "Interrupted",
    "LabelsFileError",
    "ManifestError",
    "MissingPackageError",
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
    """An option has a value that makes no sense for any data; the command line exits with 2."""


class ImageFolderError(RetrainError):
    """The folder of pictures can't be used: it is missing or empty, has only one class, or too few pictures in one."""


class LabelsFileError(RetrainError):
    """The labels file can't be read or understood."""


class ManifestError(RetrainError):
    """A manifest can't be read or understood, or none of its pictures is there."""


class UnreadableImageError(RetrainError):
    """A file is not a picture, is damaged, or is too large.

    The message is only the reason, without the path; that of `retrain.sklearn` names the pictures.
    """


class MissingPackageError(RetrainError):
    """A package that this needs is not installed, or broken."""


class BackboneError(RetrainError):
    """The backbone is unknown or not available, or is not a feature extractor."""


class BackboneUnavailableError(BackboneError):
    """The backbone's weights are not on this machine and can't be downloaded."""


class CacheError(RetrainError):
    """The bottleneck cache can't be read or written."""


class ClusterError(RetrainError):
    """A cluster can't be reached, or can't do the work."""


class TrainingError(RetrainError):
    """The head can't be trained on these bottlenecks."""


class ModelFolderError(RetrainError):
    """A model folder is missing, incomplete, from another version, or its files don't belong together."""


class OutputError(RetrainError):
    """A result can't be written to the place that the user chose."""


class ExportError(RetrainError):
    """A model can't be written in some format, or what was written does not answer as the model does."""


class Interrupted(RetrainError):
    """The user stopped the work (Ctrl-C, SIGTERM). What was done is kept; the message says how far the work got."""
