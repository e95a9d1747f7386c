"""What `retrain inspect` shows."""

from collections.abc import Iterator

from retrain.cli.console.figures import pictures_text
from retrain.cli.console.tables import ALL_IN_JSON, few, rest_line, table
from retrain.data import FEWEST_PICTURES, FolderInspection
from retrain.text import counted, listed_lines, listing

__all__ = ["describe_inspection"]


def describe_inspection(inspection: FolderInspection) -> str:
    """What `retrain inspect` shows."""
    lines = table(
        ["class", "pictures", "train", "validation", "test", "unreadable"],
        [
            (c.label, *map(str, (c.pictures, c.train, c.validation, c.test, c.unreadable)))
            for c in few(inspection.classes, lambda c: c.pictures)
        ],
    )
    lines += rest_line(len(inspection.classes), "with the fewest pictures")
    pictures = pictures_text(inspection.pictures, inspection.different)
    lines.append(f"{pictures} in {counted(len(inspection.classes), 'class')}")
    short = [f"{c.label} ({c.pictures})" for c in inspection.classes if c.pictures < FEWEST_PICTURES]
    if short or len(inspection.classes) < 2:
        lines.append(
            f"retrain train will refuse this folder: it needs two classes with {FEWEST_PICTURES} pictures each"
            + (f"; too few in {listing(short)}" if short else "")
        )
    if inspection.formats:
        lines.append("Formats: " + ", ".join(f"{name} {count}" for name, count in inspection.formats.items()))
    if inspection.width and inspection.height:
        (w0, w1, w2), (h0, h1, h2) = inspection.width, inspection.height
        lines.append(f"Width: {w0} to {w2} pixels, median {w1}; height: {h0} to {h2}, median {h1}")
    if inspection.is_imbalanced:
        largest = "the largest class has pictures, and another has none"
        if inspection.imbalance is not None:
            largest = f"the largest class has {inspection.imbalance:.1f} times the pictures of the smallest"
        lines.append(f"Imbalanced: {largest}")
    lines += _finding_lines(inspection)
    return "\n".join(lines)


def _finding_lines(inspection: FolderInspection) -> Iterator[str]:
    """What a person should look at in the folder."""
    if inspection.left_out.count:
        yield f"Unreadable: {inspection.left_out.told()}"
        yield from listed_lines([f"{path}: {why}" for path, why in inspection.unreadable.items()], ALL_IN_JSON)
    for groups, title in (
        (
            inspection.contradictions,
            "in several classes (at most one is right: keep that one; or all are, with --multi-label)",
        ),
        (inspection.leaks, "in several sets (a test picture that was also trained on proves nothing: keep one copy)"),
        (inspection.duplicates, "more than once in the same class"),
    ):
        if groups:
            yield f"{counted(len(groups), 'picture')} {title}:"
            yield from listed_lines([" = ".join(group) for group in groups], ALL_IN_JSON)
    for names, noun, place in (
        (inspection.one_colour, "picture", "of one flat colour"),
        (inspection.one_colour_classes, "class", "with nothing but one flat colour"),
        (inspection.empty_folders, "folder", "without files"),
        (inspection.stray_files, "file", "beside the class folders"),
    ):
        if names:
            yield f"{counted(len(names), noun)} {place}:"
            yield from listed_lines(names, ALL_IN_JSON)
