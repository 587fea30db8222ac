"""Images and their classes: Fashion-MNIST, scikit-learn's digits, or folders of images."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from experiments.fixed import SEED

_INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # of Debian's dataset-fashion-mnist
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@dataclass(frozen=True, slots=True)
class Images:
    """Images with their classes.

    Attributes:
        pixels: (images, channels, side, side) uint8.
        labels: (images,) classes from 0.
        ids: Where each stood in its file, or among its folders' sorted files, from 0.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: npt.NDArray[np.int64]) -> Images:
        """Returns the images at `rows`."""
        return Images(self.pixels[rows], self.labels[rows], self.ids[rows])

    def of(self, classes: Sequence[int]) -> Images:
        """Returns the images of `classes`, which are numbered anew in that order; () for all."""
        if not classes:
            return self
        found = self.at(np.flatnonzero(np.isin(self.labels, classes)))
        order = {old: new for new, old in enumerate(classes)}
        labels = np.array([order[int(label)] for label in found.labels], np.int64)
        return Images(found.pixels, labels, found.ids)

    def drawn(self, count: int | None) -> Images:
        """Returns `count` images, the same ones at each call; all for None."""
        if count is None or count >= len(self):
            return self
        return self.at(np.sort(_order(len(self))[:count]))


@dataclass(frozen=True, slots=True)
class Splits:
    """What trains, what chooses rates and epochs, and what reports, once."""

    train: Images
    choose: Images
    report: Images


def splits(
    name: str,
    data: Path,
    classes: Sequence[int],
    rows: int | None,
    report: int | None = None,
    *,
    side: int,
) -> Splits:
    """Returns a set's splits: a fixed tenth of train chooses, the official test reports.

    Args:
        name: "fashion-mnist", "digits" (every third digit is the test), or a folder in `data` that
            holds train/ and test/, each with a folder of images a class.
        data: The folder of the data sets.
        classes: Those that are asked for; () for all.
        rows: Of train, the tenth that chooses included; None for all.
        report: Of test; None for all.
        side: Of the model's images: files that are larger are made that small as they are read.

    Raises:
        SystemExit: The set is not there, or its test has a class that train has not.
    """
    train, test = (images.of(classes) for images in _read(name, data, side))
    train = train.drawn(rows)
    order, tenth = _order(len(train)), len(train) // 10
    return Splits(
        train.at(np.sort(order[tenth:])), train.at(np.sort(order[:tenth])), test.drawn(report)
    )


def values(images: Images, rows: npt.NDArray[np.int64], side: int, channels: int) -> Tensor:
    """Returns images as models read them: (rows, channels, side, side) float32 in -1..1.

    Enlarged bilinearly; one channel is repeated where the model wants three.
    """
    pixels = torch.from_numpy(images.pixels[rows]).float() / 127.5 - 1
    if pixels.shape[-1] != side:
        pixels = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear")
    return pixels.expand(-1, channels, -1, -1).contiguous()


def _read(name: str, data: Path, side: int) -> tuple[Images, Images]:
    if name == "digits":
        return _digits()
    if name == "fashion-mnist":
        return _fashion(data)
    folder = data / name
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: give the folder of the data sets with --data")
    return _folders(folder, side)


def _fashion(data: Path) -> tuple[Images, Images]:
    """Returns train and test out of the four files, the data sets' or the package's."""
    places = (data / "fashion-mnist", _INSTALLED)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise SystemExit(
            f"Fashion-MNIST is missing: put its four .gz files into {places[0]}, "
            "or install Debian's package dataset-fashion-mnist"
        )

    def split(part: str) -> Images:
        pixels = _idx(found / f"{part}-images-idx3-ubyte.gz")  # (images, 28, 28)
        labels = _idx(found / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
        return Images(pixels[:, None], labels, np.arange(len(labels)))

    return split("train"), split("t10k")


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    """Returns an IDX file of bytes: two zeros, type 8, rank, big-endian sizes, values."""
    if not path.exists():
        raise SystemExit(f"{path} is missing")
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape.tolist())


def _digits() -> tuple[Images, Images]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[:, None]  # (images, 1, 8, 8)
    every = Images(pixels, found.target.astype(np.int64), np.arange(len(pixels)))
    third = np.arange(len(pixels)) % 3 == 0
    return every.at(np.flatnonzero(~third)), every.at(np.flatnonzero(third))


def _folders(place: Path, side: int) -> tuple[Images, Images]:
    """Returns train and test: the classes are train's folders, and all images have one side.

    That is `side`, or the largest that train has where that is less: `values` enlarges.
    """
    train, test = (_files(place / part) for part in ("train", "test"))
    classes = sorted({path.parent.name for path in train})
    unknown = sorted({path.parent.name for path in test}.difference(classes))
    if unknown:
        raise SystemExit(f"{place / 'test'} has classes that train has not: {', '.join(unknown)}")
    side = min(side, max(_smaller_side(path) for path in train))
    return _opened(train, classes, side), _opened(test, classes, side)


def _files(folder: Path) -> list[Path]:
    """Returns the images below `folder`, a class a folder, sorted."""
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: a folder of images a class is expected there")
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise SystemExit(f"{folder} holds no images, expected <class>/<image>.png or .jpg")
    return files


def _smaller_side(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return min(image.size)


def _opened(files: Sequence[Path], classes: Sequence[str], side: int) -> Images:
    from PIL import Image

    pixels = np.empty((len(files), 3, side, side), np.uint8)
    for row, path in enumerate(files):
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels[row] = np.asarray(resized).transpose(2, 0, 1)
    labels = np.array([classes.index(path.parent.name) for path in files], np.int64)
    return Images(pixels, labels, np.arange(len(files)))


def _order(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(SEED).permutation(count)
