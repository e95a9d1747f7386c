"""Write scikit-learn's 1,797 scans of handwritten digits as pictures, a folder for each digit.

    python examples/digits.py FOLDER

The scans are 8 x 8 pixels with 17 grey levels (E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits,
UCI Machine Learning Repository, 1998). They are enlarged to 96 x 96, so that a person can look at them, too.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIZE = 96  # pixels, width and height
MOST_INK = 16  # the highest value in the scans


def main(folder: Path) -> None:
    """Write the pictures that are missing."""
    digits = load_digits()
    written = 0
    for number, (ink, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{number:04}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        paper = Image.fromarray((255 - 255 * ink / MOST_INK).round().astype(np.uint8))
        paper.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
        written += 1
    print(f"{len(digits.target)} pictures of 10 digits in {folder}, {written} of them new")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digits.py FOLDER")
    main(Path(sys.argv[1]))
