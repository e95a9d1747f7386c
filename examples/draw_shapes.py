"""Draw a small data set: five classes of shapes, a folder each, the same pictures every time.

    python examples/draw_shapes.py FOLDER [PICTURES_PER_CLASS]

Shape alone tells the classes apart: colours of shape and ground, position, size, turn, noise and stray lines are drawn
at random for every picture, in all classes alike.
"""

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("circle", "cross", "ring", "square", "star")
SIZE = 320  # pixels, width and height
SEED = 2015

Point = tuple[float, float]
Colour = tuple[int, int, int]


def outline(name: str, radius: float) -> list[Point]:
    """Corners of a polygon around (0, 0)."""
    if name == "square":
        return [(-radius, -radius), (radius, -radius), (radius, radius), (-radius, radius)]
    if name == "star":
        radii = [radius * 1.2 if corner % 2 == 0 else radius * 0.5 for corner in range(10)]
        return [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)]
    arm = radius / 3
    quarter = [(-arm, -radius * 1.1), (arm, -radius * 1.1), (arm, -arm)]
    return [
        (x * math.cos(t) - y * math.sin(t), x * math.sin(t) + y * math.cos(t))
        for t in (0, math.pi / 2, math.pi, 3 * math.pi / 2)
        for x, y in quarter
    ]


def colours(rng: random.Random) -> tuple[Colour, Colour]:
    """A ground and a shape that can be told apart."""
    while True:
        ground, shape = (tuple(rng.randrange(256) for _ in range(3)) for _ in range(2))
        if sum(abs(a - b) for a, b in zip(ground, shape, strict=True)) > 220:
            return ground, shape  # type: ignore[return-value]


def draw(name: str, rng: random.Random) -> Image.Image:
    """One picture of a class."""
    ground, colour = colours(rng)
    image = Image.new("RGB", (SIZE, SIZE), ground)
    canvas = ImageDraw.Draw(image)
    for _ in range(rng.randrange(2, 7)):
        ends = [rng.randrange(SIZE) for _ in range(4)]
        canvas.line(ends, fill=tuple(rng.randrange(256) for _ in range(3)), width=rng.randrange(1, 5))
    radius = rng.uniform(0.12, 0.36) * SIZE
    x, y = (rng.uniform(radius * 1.2, SIZE - radius * 1.2) for _ in range(2))
    box = [x - radius, y - radius, x + radius, y + radius]
    if name == "circle":
        canvas.ellipse(box, fill=colour)
    elif name == "ring":
        canvas.ellipse(box, outline=colour, width=max(4, int(radius * rng.uniform(0.15, 0.35))))
    else:
        turn = rng.uniform(0, 2 * math.pi)
        corners = [
            (x + px * math.cos(turn) - py * math.sin(turn), y + px * math.sin(turn) + py * math.cos(turn))
            for px, py in outline(name, radius * 0.85)
        ]
        canvas.polygon(corners, fill=colour)
    noise = Image.frombytes("RGB", image.size, rng.randbytes(SIZE * SIZE * 3)).filter(ImageFilter.BoxBlur(1))
    return Image.blend(image, noise, rng.uniform(0.05, 0.3))


def main(folder: Path, per_class: int = 60) -> None:
    """Draw all classes; pictures that are there already are left alone."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            path = folder / name / f"{name}_{number:03}.png"
            if not path.exists():
                draw(name, random.Random(f"{SEED}/{name}/{number}")).save(path)
    print(f"{per_class} pictures in each of {len(CLASSES)} classes: {folder}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
