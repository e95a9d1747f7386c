"""The backbone of a run that names none: Inception v3, or where that can't be had, the one that is always here."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from retrain.backbone import DEFAULT, Backbone, locate_backbone
from retrain.cache_folder import read_notes
from retrain.config import BackboneOptions, RunOptions
from retrain.errors import BackboneError, BackboneUnavailableError, CacheError
from retrain.image_folder import display_path

__all__ = ["FALLBACK", "choose_backbone"]

FALLBACK = "efficientnet_lite0"  # comes with the program


def choose_backbone(options: RunOptions, on_warning: Callable[[str], None]) -> tuple[Backbone, RunOptions]:
    """The backbone of a run, and its options with the backbone's name filled in.

    One that is named is that, or an error later. Where none is named, Inception v3 is made ready, that is downloaded
    where it is not on this machine, for whether that can be must be known now.

    Args:
        on_warning: told, in one line, where the backbone is another one than Inception v3, or than in earlier runs.
    Raises BackboneError.
    """
    if options.backbone.backbone is not None:
        return locate_backbone(options.backbone), options
    named = dataclasses.replace(options.backbone, backbone=DEFAULT)
    backbone, cache_dir = locate_backbone(named), Path(options.extraction.cache_dir)
    try:
        backbone.check_available()
    except BackboneUnavailableError as error:
        named = dataclasses.replace(named, backbone=FALLBACK)
        backbone = _fall_back(named, error)
        on_warning(
            f"no --backbone is named, and Inception v3 can't be had, so {FALLBACK} is used, which comes with this "
            f"program{_unused(cache_dir)}; {error}"
        )
    else:
        if _has_rows(cache_dir, FALLBACK) and not _has_rows(cache_dir, DEFAULT):
            on_warning(
                f"{DEFAULT} is used, the default; {display_path(cache_dir)} has bottlenecks of {FALLBACK}, from "
                f"earlier runs, and none of {DEFAULT}: every picture is extracted anew; --backbone {FALLBACK} goes on "
                "with what is there"
            )
    return backbone, dataclasses.replace(options, backbone=named)


def _fall_back(options: BackboneOptions, error: BackboneUnavailableError) -> Backbone:
    try:
        located = locate_backbone(options)
    except BackboneError as missing:
        raise BackboneUnavailableError(f"{error}; {FALLBACK} would be used in its place, but {missing}") from missing
    return Backbone(located.source, instead_of=DEFAULT)


def _unused(cache_dir: Path) -> str:
    if not _has_rows(cache_dir, DEFAULT):
        return ""
    return f" (the bottlenecks of {DEFAULT} in {display_path(cache_dir)} can't be used without its weights)"


def _has_rows(cache_dir: Path, name: str) -> bool:
    """Whether a cache has bottlenecks of a backbone, in any precision or size; what can't be read has none."""
    with contextlib.suppress(CacheError):
        return any(str(note.get("name", folder.name)).startswith(name) for folder, note in read_notes(cache_dir))
    return False
