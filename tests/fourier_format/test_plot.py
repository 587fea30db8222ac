"""`plot` draws an adapter to a PNG, whole or not at all."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Never

import numpy as np
import pytest

from fourier_format import Adapter, EntrySet, Target
from fourier_format.errors import DependencyMissingError, FileAccessError, OutputExistsError
from fourier_format.plot import MAX_SETS, figure, plot
from tests.fourier_format.samples import adapter, changed, with_first_set

PNG = b"\x89PNG\r\n\x1a\n"


def one_entry(id_: str, entry: tuple[int, int], shape: tuple[int, int]) -> EntrySet:
    return EntrySet(
        id=id_,
        shape=shape,
        entries=np.array([entry], np.int32),
        coefficients=np.ones((1, 1), np.float32),
    )


def test_the_picture_is_a_png_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "adapter.png"
    plot(adapter(), path)
    data = path.read_bytes()
    assert data.startswith(PNG)
    width, height = struct.unpack(">II", data[16:24])
    assert width > 1000
    assert height > 800
    assert list(tmp_path.iterdir()) == [path]


def test_every_set_has_its_entries_and_its_coefficients_with_labels() -> None:
    panels = [axes for axes in figure(adapter()).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        "48x32: 20 entries",
        "48x32: coefficients",
        "16x32: 12 entries",
        "16x32: coefficients",
    ]
    assert all(axes.get_xlabel() for axes in panels)
    names = [text.get_text() for text in panels[1].get_yticklabels()]
    assert names == ["layer.0.query", "layer.1.query", "layer.2.query"]


def test_the_picture_shows_the_coefficients_from_low_to_high_frequency() -> None:
    entries = np.array([[8, 8], [0, 0], [15, 1]], np.int32)
    coefficients = np.array([[3, 1, 2]], np.float32)
    one = EntrySet(id="a", shape=(16, 16), entries=entries, coefficients=coefficients)
    target = Target(name="t", kind="linear", shape=(16, 16), entries="a", row=0)
    drawn = figure(Adapter(alpha=1.0, entry_sets=(one,), targets=(target,))).axes[1].images[0]
    assert np.asarray(drawn.get_array()).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("transform", "drawn", "order", "label"),
    [
        ("dht2", [[-1, -1], [0, 0], [1, 1]], [1, 2, 3], "entries, from low to high frequency"),
        ("dct2", [[15, 15], [0, 0], [1, 1]], [1, 2, 3], "entries, from low to high frequency"),
        ("dwt2:db2", [[15, 15], [0, 0], [1, 1]], [3, 1, 2], "entries, as in the file"),
    ],
)
def test_the_picture_says_of_each_transform_what_its_entries_are(
    transform: str, drawn: list[list[int]], order: list[int], label: str
) -> None:
    entries = np.array([[15, 15], [0, 0], [1, 1]], np.int32)
    coefficients = np.array([[3, 1, 2]], np.float32)
    if transform == "dht2":  # (15, 15) is (-1, -1), as far from zero as (1, 1)
        coefficients = np.array([[2, 1, 3]], np.float32)
    one = EntrySet(id="a", shape=(16, 16), entries=entries, coefficients=coefficients)
    target = Target(name="t", kind="linear", shape=(16, 16), entries="a", row=0)

    axes = figure(
        Adapter(alpha=1.0, entry_sets=(one,), targets=(target,), transform=transform)
    ).axes

    dots = np.asarray(axes[0].collections[0].get_offsets())
    assert dots.tolist() == drawn  # v and u are equal here
    low, high = axes[0].get_xlim()
    assert all(low < dot < high for dot in dots[:, 0])
    assert np.asarray(axes[1].images[0].get_array()).tolist() == [order]
    assert axes[1].get_xlabel() == label


def test_names_that_no_font_and_no_formula_knows_are_drawn_without_a_warning(
    tmp_path: Path,
) -> None:
    whole = adapter()
    names = ("层.$\\frac$", "x" * 500, "\u202e")
    targets = [changed(t, name=n) for t, n in zip(whole.targets, names, strict=False)]
    plot(
        changed(whole, targets=(*targets, *whole.targets[3:]), base_model={"name": "$\\x$"}),
        tmp_path / "a.png",
    )


def test_coefficients_that_are_all_zero_can_be_drawn(tmp_path: Path) -> None:
    zero = np.zeros_like(adapter().entry_sets[0].coefficients)
    plot(with_first_set(adapter(), coefficients=zero), tmp_path / "a.png")


def test_an_adapter_of_many_sets_says_that_not_all_are_shown() -> None:
    many = [one_entry(f"s{i}", (0, 1), (4, 4)) for i in range(MAX_SETS + 1)]
    targets = [Target(name=s.id, kind="linear", shape=(4, 4), entries=s.id, row=0) for s in many]
    picture = figure(Adapter(alpha=1.0, entry_sets=tuple(many), targets=tuple(targets)))
    assert "the first 8 of 9 entry sets" in picture.get_suptitle()


def test_an_existing_picture_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(OutputExistsError):
        plot(adapter(), path)
    assert path.read_text() == "mine"
    plot(adapter(), path, overwrite=True)
    assert path.read_bytes().startswith(PNG)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="nowhere"):
        plot(adapter(), tmp_path / "nowhere" / "a.png")


def test_a_failure_while_drawing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fail(_: Figure, file: IO[bytes], **options: object) -> Never:
        file.write(PNG)
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        plot(adapter(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_error_without_matplotlib_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyMissingError, match=r"fourier-format\[plot\]"):
        plot(adapter(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_pyplot_and_its_global_state_alone(tmp_path: Path) -> None:
    program = """
import sys
from fourier_format.plot import plot
from tests.fourier_format.samples import adapter
plot(adapter(), sys.argv[1])
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a.png")]
    assert subprocess.run(command, check=False).returncode == 0
