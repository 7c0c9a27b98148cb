"""Write the data set: data/digits/{train,test}/<digit>/<number>.npy, 8x8 pixels from 0 to 16.

The last 450 images are the test set: their writers are not in the training set. Only training
images get shifted copies (`data.shifts` in params.yaml).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

PLACE = Path("data/digits")
TEST_IMAGES = 450
MOVES = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def shifted(image: np.ndarray, move: str) -> np.ndarray:
    """Return the image moved by one pixel; what leaves on one side does not come back."""
    down, right = MOVES[move]
    framed = np.pad(image, 1)
    return framed[1 - down : 9 - down, 1 - right : 9 - right]


def write(split: str, digit: int, name: str, image: np.ndarray) -> None:
    """Write one image into its class's directory."""
    path = PLACE / split / str(digit) / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, image)


def main() -> None:
    """Write all images anew."""
    shifts = YAML(typ="safe").load(Path("params.yaml"))["data"]["shifts"]
    shutil.rmtree(PLACE, ignore_errors=True)
    digits = load_digits()
    first_test = len(digits.images) - TEST_IMAGES
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        name = f"{number:04}"
        if number >= first_test:
            write("test", digit, name, image)
            continue
        write("train", digit, name, image)
        for move in shifts:
            write("train", digit, f"{name}-{move}", shifted(image, move))
    print(f"{first_test * (1 + len(shifts))} training images, {TEST_IMAGES} test images in {PLACE}")


if __name__ == "__main__":
    main()
