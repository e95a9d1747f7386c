"""Pictures to vectors: pass one as a scikit-learn transformer."""

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from retrain.backbones import Extractor, choose_backbone
from retrain.data import LabelledPictures, list_pictures
from retrain.errors import BackboneError, UnreadableImageError
from retrain.events import Event, Warned
from retrain.extraction import Extraction, choose_extractor_for, extract_bottlenecks, open_cache
from retrain.options import (
    DEFAULT_MAX_FILE_SIZE,
    DEFAULT_MAX_PIXELS,
    BackboneOptions,
    ExtractionOptions,
    ImageOptions,
    RunOptions,
)
from retrain.paths import display_path
from retrain.sklearn.parameters import options_of, parameters_named
from retrain.text import counted, listing

__all__ = ["BottleneckTransformer"]

_FEW = 64  # pictures that a network is tried on when it is converted


class BottleneckTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn pictures into the vectors that a frozen network makes of them. Each picture is computed once.

    X is a sequence of n pictures: paths (str or os.PathLike), the bytes of picture files, or pixels, which are arrays
    of uint8, (height, width, 3) for RGB or (height, width) for grey. Any mixture of them will do, and so will an array
    (n, height, width, 3), a column of a data frame, or (n, 1) such values. Vectors are kept in the cache by the
    content, so paths and bytes share them with all commands of retrain. Pixels count as the PPM or PGM file of them.

    A picture that can't be read is an UnreadableImageError, which names up to ten of them: no row may be left out, and
    none be made up. The vectors of the others are in the cache then.

    Args:
        backbone, weights, input_size, input_range, depth, precision, trust: the network, as `retrain.BackboneOptions`.
        picture_fit: what `retrain.BackboneOptions` calls `fit`, which is a method here.
        input_mean, input_std, input_channels, input_layout, backbone_output, pooling: how an ONNX network is used.
        cache_dir: folder of the cache.
        max_pixels, max_file_size: bounds of a picture, as `retrain.ImageOptions`.

    Attributes, after fit:
        backbone_: name or place of the network; says which one None came to.
        fingerprint_: 64 hexadecimal digits; equal if the same picture gives the same vector.
    """

    def __init__(
        self,
        backbone: str | None = None,
        *,
        weights: str | None = None,
        input_size: int | None = None,
        picture_fit: str = "squash",
        depth: str = "bits",
        input_range: str | None = None,
        input_mean: str | None = None,
        input_std: str | None = None,
        input_channels: str | None = None,
        input_layout: str | None = None,
        backbone_output: str | None = None,
        pooling: str | None = None,
        precision: str = "float32",
        trust: bool = False,
        cache_dir: str = "cache",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_file_size: int = DEFAULT_MAX_FILE_SIZE,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.input_size = input_size
        self.picture_fit = picture_fit
        self.depth = depth
        self.input_range = input_range
        self.input_mean = input_mean
        self.input_std = input_std
        self.input_channels = input_channels
        self.input_layout = input_layout
        self.backbone_output = backbone_output
        self.pooling = pooling
        self.precision = precision
        self.trust = trust
        self.cache_dir = cache_dir
        self.max_pixels = max_pixels
        self.max_file_size = max_file_size

    def fit(self, X: Any, y: Any = None) -> "BottleneckTransformer":  # noqa: ARG002, N803
        """Find the network, and put the vectors of X into the cache. With precision int8, X also decides the scales.

        Args:
            X: (n,) pictures, n >= 1.
            y: not used.
        Raises RetrainError; TypeError or ValueError if X is something else.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:  # noqa: ARG002, N803
        """Fit, and return the vectors of X, as `transform` does."""
        return self._fit(X)

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Return the vectors: (n,) pictures, n >= 1, to (n, d) float32.

        Raises UnreadableImageError, CacheError, BackboneError; TypeError or ValueError if X is something else.
        """
        check_is_fitted(self)
        folder = _folder_of(X)
        with self._parameters_named():
            if self._opened.extractor(folder).fingerprint != self.fingerprint_:
                raise BackboneError(
                    f"the backbone {self.backbone_} is not the one that this transformer was fitted with: its weights "
                    "or its settings differ on this machine; use the same, or fit again"
                )
            return self._opened.vectors(folder)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _fit(self, pictures: Any) -> NDArray[np.float32]:
        folder = _folder_of(pictures)
        places = ("backbone", "weights", "cache_dir")  # any kind of path
        parameters = {
            name: os.fspath(value) if name in places and value is not None else value
            for name, value in self.get_params(deep=False).items()
        } | {"fit": self.picture_fit}
        with self._parameters_named():
            options = RunOptions(
                backbone=options_of(BackboneOptions, parameters),
                extraction=options_of(ExtractionOptions, parameters),
                images=options_of(ImageOptions, parameters),
            )
            opened = _Opened(choose_backbone(options, _warn)[1])
            vectors = opened.vectors(folder)
            self.fingerprint_ = opened.extractor(folder).fingerprint
        self.backbone_ = opened.options.backbone.backbone
        self._opened, self._n_features_out = opened, vectors.shape[1]
        return vectors

    @classmethod
    def _parameters_named(cls) -> Any:
        return parameters_named({name: name for name in cls._get_param_names()} | {"fit": "picture_fit"})


class _Opened:
    """A network that is opened when it is first needed. A copy opens it again, and so does another process.

    Args:
        options: with the backbone named.
    """

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self._extractor: Extractor | None = None

    def __reduce__(self) -> tuple[type["_Opened"], tuple[RunOptions]]:
        return _Opened, (self.options,)

    def extractor(self, folder: LabelledPictures) -> Extractor:
        """The extractor; the folder's pictures are those that it is made with, if it has to be made."""
        if self._extractor is None:
            options = self.options
            if options.backbone.precision != "int8":  # else it would hold on to all of them
                folder = folder.part(range(min(_FEW, len(folder.samples))))
            backbone, options = choose_backbone(options, _warn)
            self._extractor = choose_extractor_for(folder, backbone, options, _warn)
        return self._extractor

    def vectors(self, folder: LabelledPictures) -> NDArray[np.float32]:
        """(n, d) of all pictures. Raises UnreadableImageError, CacheError, BackboneError."""
        extractor = self.extractor(folder)
        cache = open_cache(extractor, self.options.extraction)
        done = extract_bottlenecks(folder, extractor, cache, self.options)
        for warning in cache.warnings:
            _warn(Warned(warning))
        _check_all_readable(folder, done)
        rows = cache.find(done.keys)
        if (rows < 0).any():  # another process may have merged meanwhile
            cache.refresh()
            rows = cache.find(done.keys)
        vectors: NDArray[np.float32] = cache.read(rows)
        return vectors


def _check_all_readable(folder: LabelledPictures, done: Extraction) -> None:
    if done.readable.all():
        return
    bad = [folder.samples[number] for number in np.flatnonzero(~done.readable)]
    named = listing(
        f"{sample.path if sample.content else display_path(folder.root / sample.path)} ({done.skipped[sample.path]})"
        for sample in bad
    )
    raise UnreadableImageError(
        f"{len(bad)} of {counted(len(folder.samples), 'picture')} can't be read: {named}; leave them out"
    )


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        warnings.warn(event.message, UserWarning, stacklevel=2)


def _folder_of(pictures: Any) -> LabelledPictures:
    """X as a folder of pictures. Raises TypeError, ValueError."""
    if isinstance(pictures, str | bytes | os.PathLike):
        raise TypeError(f"X is a single {type(pictures).__name__}: give a list of pictures")
    if hasattr(pictures, "to_numpy"):  # a column, or a data frame of one
        pictures = pictures.to_numpy()
    if isinstance(pictures, np.ndarray):
        if pictures.dtype.kind == "S":  # whose elements lose zeros at their ends
            raise TypeError("X is an array of fixed-length bytes, which cuts pictures short: give a list of bytes")
        if pictures.ndim == 2 and pictures.shape[1] == 1 and pictures.dtype.kind in "OUT":
            pictures = pictures[:, 0]
        if pictures.ndim == 3 and pictures.shape[2] == 3:
            raise ValueError(f"X is an array of shape {pictures.shape}, a single picture: give a list of pictures")
    folder = list_pictures(pictures)
    if not folder.samples:
        raise ValueError("X has no pictures, and at least one is needed")
    return folder
