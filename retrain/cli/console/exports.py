"""What `retrain export` shows."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrain.cli.console.tables import table
from retrain.paths import display_path
from retrain.text import counted, listing, ratio

if TYPE_CHECKING:
    from retrain.export import WrittenExport

__all__ = ["describe_exports", "describe_formats"]


def describe_exports(exports: "Sequence[WrittenExport]") -> str:
    """What `retrain export` shows: a row for each export, and where they are."""
    rows = [
        (
            export.format,
            f"{export.bytes / 10**6:.1f} MB",
            "-" if export.checked.pictures_per_second is None else f"{export.checked.pictures_per_second:.1f}",
            f"{export.checked.largest_difference:.1e}",
            ", ".join(
                f"{found.set} {ratio(found.correct / found.n)} ({ratio(found.correct_before / found.n)}, n={found.n})"
                for found in export.checked.accuracy
                if found.n
            )
            or "as predict",
        )
        for export in exports
    ]
    lines = table(["format", "size", "pictures/s", "largest difference", "accuracy (float32's)"], rows)
    compared = counted(max(export.checked.pictures for export in exports), "picture")
    lines.append(f"Differences are those of a score to retrain predict, of {compared}, one by one and in a batch.")
    for export in exports:
        lines.append(f"{export.format}: {display_path(os.path.join(export.folder, export.file))}")
    return "\n".join(lines)


def describe_formats(formats: Sequence[dict[str, Any]]) -> str:
    """What `retrain export --list` shows."""
    lines = []
    for one in formats:
        lines.append(f"{one['format']}: {one['file']}, loaded by {one['loaded_by']}")
        lines.append(f"  takes {one['takes']}")
        missing = listing(one["missing_packages"])
        state = f"which lacks {missing} here" if missing else "which is here"
        lines.append(f"  needs pip install 'retrain[{one['extra']}]', {state}" if one["extra"] else "  needs no extra")
    return "\n".join(lines)
