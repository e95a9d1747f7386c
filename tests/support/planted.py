"""Faults planted in a copy of a folder of pictures."""

import hashlib
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Planted:
    """What was planted: paths relative to the folder."""

    root: Path
    swapped: tuple[str, ...]  # pictures moved to the folder of another class
    copies: tuple[tuple[str, str], ...]  # a test picture, and its copy, which is in the training set
    twice: tuple[tuple[str, str], ...]  # the same file under two labels
    broken: tuple[str, ...]


def set_of(data):
    """The set that a file's content puts it into, by the default percentages."""
    percent = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64 * 100
    return "validation" if percent < 10 else "test" if percent < 20 else "train"


def plant(source, root, count, seed=0):
    """Copy so many pictures of each class, and plant 5 swapped labels, 10 copies across sets, 2 contradictions and 3
    broken files.
    """
    for folder in sorted(path for path in Path(source).iterdir() if path.is_dir()):
        (root / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            shutil.copyfile(path, root / folder.name / path.name)
    rng = np.random.default_rng(seed)
    classes = sorted(folder.name for folder in root.iterdir())
    pictures = {name: sorted((root / name).iterdir()) for name in classes}
    tested = [path for name in classes for path in pictures[name] if set_of(path.read_bytes()) == "test"]
    chosen = [tested[number] for number in rng.permutation(len(tested))[:10]]
    free = [path for name in classes for path in pictures[name] if path not in chosen]
    free = [free[number] for number in rng.permutation(len(free))]
    copies = [(path, _copy_in_training(path, number)) for number, path in enumerate(chosen)]
    swapped = []
    for path in free[:5]:
        other = classes[(classes.index(path.parent.name) + 2) % len(classes)]
        swapped.append(path.rename(root / other / f"swapped_{path.name}"))
    twice = []
    for path in free[5:7]:
        other = classes[(classes.index(path.parent.name) + 1) % len(classes)]
        twice.append((path, Path(shutil.copyfile(path, root / other / f"twice_{path.name}"))))
    broken = []
    for number, path in enumerate(free[7:10]):
        broken.append(path.with_name(f"broken_{path.name}"))
        broken[-1].write_bytes(path.read_bytes()[: 200 * (number + 1)])

    def relative(path):
        return path.relative_to(root).as_posix()

    return Planted(
        root,
        tuple(map(relative, swapped)),
        tuple((relative(one), relative(other)) for one, other in copies),
        tuple((relative(one), relative(other)) for one, other in twice),
        tuple(map(relative, broken)),
    )


def _copy_in_training(path, number):
    """A copy, saved again or at two thirds of the size, whose content puts it into the training set."""
    picture = Image.open(path).convert("RGB")
    if number % 2:
        size = [round(side * 2 / 3) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    for quality in range(60, 95):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if set_of(buffer.getvalue()) == "train":
            copy = path.with_name(f"copy_{path.name}")
            copy.write_bytes(buffer.getvalue())
            return copy
    raise AssertionError("no quality puts the copy into the training set")
