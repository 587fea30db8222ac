"""Images: where they come from, and which split chooses and reports."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.images import data
from experiments.images.data import splits, values


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes())


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return tmp_path


def test_fashion_mnist_is_read_out_of_its_four_files(fashion: Path) -> None:
    found = splits("fashion-mnist", fashion, (), None, side=28)
    assert len(found.train) + len(found.choose) == 40
    assert len(found.choose) == 4
    assert found.report.ids.tolist() == list(range(20))
    assert found.report.pixels[3, 0].tolist() == [[12, 13], [14, 15]]
    assert not set(found.train.ids.tolist()) & set(found.choose.ids.tolist())


def test_classes_that_are_asked_for_are_numbered_anew(fashion: Path) -> None:
    found = splits("fashion-mnist", fashion, (4, 2), None, side=28)
    assert found.report.ids.tolist() == [2, 4, 12, 14]
    assert found.report.labels.tolist() == [1, 0, 1, 0]


def test_the_tenth_that_chooses_is_always_the_same(fashion: Path) -> None:
    first, again = (splits("fashion-mnist", fashion, (), 20, side=28) for _ in range(2))
    assert first.choose.ids.tolist() == again.choose.ids.tolist()
    assert (len(first.train), len(first.choose)) == (18, 2)


def test_a_set_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_INSTALLED", tmp_path / "not-installed")
    with pytest.raises(SystemExit, match=r"Fashion-MNIST is missing: put its four \.gz files into"):
        splits("fashion-mnist", tmp_path, (), None, side=28)
    with pytest.raises(SystemExit, match="cifar10 is missing: give the folder"):
        splits("cifar10", tmp_path, (), None, side=28)


def test_folders_of_images_are_sets_too(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for k in range(10):
                Image.new("RGB", (4, 4), (number, k, 0)).save(folder / f"{k}.png")
    found = splits("pets", tmp_path, (), None, side=28)
    assert (len(found.train), len(found.choose), len(found.report)) == (18, 2, 20)
    assert found.report.labels.tolist() == [0] * 10 + [1] * 10
    assert found.report.pixels[13, :, 0, 0].tolist() == [1, 3, 0]


def write(folder: Path, size: tuple[int, int], count: int = 2) -> None:
    folder.mkdir(parents=True)
    for k in range(count):
        Image.new("RGB", size, (k, 0, 0)).save(folder / f"{k}.png")


def test_a_class_has_one_number_in_both_splits(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/b"):
        write(tmp_path / "pets" / place, (4, 4))
    found = splits("pets", tmp_path, (), None, side=8)
    assert found.report.labels.tolist() == [1, 1]


def test_a_class_that_train_has_not_is_named(tmp_path: Path) -> None:
    for place in ("train/a", "test/a", "test/newt"):
        write(tmp_path / "pets" / place, (4, 4))
    with pytest.raises(SystemExit, match="test has classes that train has not: newt"):
        splits("pets", tmp_path, (), None, side=8)


@pytest.mark.parametrize(("side", "kept"), [(28, 28), (100, 40)])
def test_both_splits_have_one_size_the_models_unless_all_are_smaller(
    side: int, kept: int, tmp_path: Path
) -> None:
    write(tmp_path / "pets" / "train" / "a", (20, 10))
    write(tmp_path / "pets" / "train" / "b", (60, 40))
    write(tmp_path / "pets" / "test" / "a", (12, 90))
    found = splits("pets", tmp_path, (), None, side=side)
    shapes = {part.pixels.shape[1:] for part in (found.train, found.choose, found.report)}
    assert shapes == {(3, kept, kept)}


def test_digits_come_with_scikit_learn(tmp_path: Path) -> None:
    found = splits("digits", tmp_path, (1, 3), 50, 10, side=8)
    assert len(found.train) + len(found.choose) == 50
    assert len(found.report) == 10
    assert set(found.train.labels.tolist()) == {0, 1}


def test_models_read_minus_one_to_one_in_their_own_size(fashion: Path) -> None:
    found = splits("fashion-mnist", fashion, (), None, side=28).report
    given = values(found, np.array([0, 19]), 4, 3)
    assert given.shape == (2, 3, 4, 4)
    assert given[0, 0, 0, 0].item() == -1.0
    assert given[:, 0].equal(given[:, 2])
