"""A base is checked as merging checks it, and says how large the changes are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fourier_format import Adapter, delta_weight
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, save, without_prints
from tests.fourier_converters.checkpoints import DIGITS, write_base
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.graphs import LINEAR, model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.html.document import tables
from tests.fourier_converters.keras.setting import UP, dense, write_archive, write_weights

W = weight()


def onnx(folder: Path, values: Array) -> Path:
    proto = model(LINEAR, {"val_1": values.T}, {"node_MatMul": "enc.q"})
    return save_model(proto, folder / "base.onnx")


def checkpoint(folder: Path, values: Array) -> Path:
    return write_base(folder / "base", {"enc.q.weight": values})


BASES = [onnx, checkpoint]
Write = Callable[[Path, Array], Path]


def rows(folder: Path, caption: str = "Targets") -> list[dict[str, str]]:
    """Returns the rows of the page's table by the titles of its columns."""
    header, *found = tables((folder / "page.html").read_text("utf-8"))[caption]
    return [dict(zip(header, row, strict=True)) for row in found]


def relative(whole: Adapter, values: Array) -> str:
    delta = delta_weight(whole, whole.targets[0], np.float64)
    return f"{np.linalg.norm(delta) / np.linalg.norm(values):.3g}"


@pytest.mark.parametrize("write", BASES)
@pytest.mark.parametrize("make", [adapter, without_prints])
def test_the_change_is_over_the_norm_of_the_bases_weight(
    make: Callable[..., Adapter], write: Write, tmp_path: Path
) -> None:
    whole = make({"enc.q": W})
    source, base = save(whole, tmp_path), write(tmp_path, W)

    converted(source, "--to", "html", "--base", base, "-o", tmp_path / "page.html")

    (row,) = rows(tmp_path)
    assert row["|ΔW| / |W|"] == relative(whole, W)
    assert row["found in"] != "-"
    checked = f"checked against {base.name}: its weights have the adapter" in read(tmp_path)
    assert checked == (make is adapter)


@pytest.mark.parametrize("write", [write_weights, write_archive])
def test_what_keras_saved_is_a_base(write: Callable[[Path], Path], tmp_path: Path) -> None:
    suffix = "weights.h5" if write is write_weights else "keras"
    whole = dense({"block/up": UP})
    base = write(tmp_path / f"m.{suffix}")

    converted(save(whole, tmp_path), "--to", "html", "--base", base, "-o", tmp_path / "page.html")

    (row,) = rows(tmp_path)
    assert row["|ΔW| / |W|"] == relative(whole, UP)


def test_a_directory_of_onnxruntime_genai_is_a_base(tmp_path: Path) -> None:
    config = {"model": {"decoder": {"filename": "base.onnx"}}}
    folder = tmp_path / "genai"
    folder.mkdir()
    onnx(folder, W)
    (folder / "genai_config.json").write_text(json.dumps(config))
    source = save(adapter({"enc.q": W}), tmp_path)

    converted(source, "--to", "html", "--base", folder, "-o", tmp_path / "page.html")

    assert rows(tmp_path)[0]["|ΔW| / |W|"] == relative(adapter({"enc.q": W}), W)


@pytest.mark.parametrize("write", BASES)
def test_another_base_is_refused_as_merging_refuses_it(
    write: Write, tmp_path: Path, capsys: Captured
) -> None:
    source, base = save(adapter({"enc.q": W}), tmp_path), write(tmp_path, W + 1)
    merging = "onnx" if write is onnx else "safetensors"

    lines = [
        refused(capsys, source, "--to", to, "--base", base, "-o", tmp_path / "out")
        for to in ("html", merging)
    ]

    assert lines[0] == lines[1]
    assert "[E-BASE-MISMATCH]" in lines[0][0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", BASES)
def test_a_weight_that_differs_beyond_the_samples_is_refused_on_request(
    write: Write, tmp_path: Path, capsys: Captured
) -> None:
    source = save(adapter({"enc.q": W}), tmp_path)
    swapped = np.array(W)
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    bases = write(tmp_path, W), swapped

    converted(
        source, "--to", "html", "--base", bases[0], "--verify", "full", "-o", tmp_path / "a.html"
    )
    wrong = write(tmp_path / "other", swapped) if write is checkpoint else write(tmp_path, swapped)
    (line,) = refused(
        capsys, source, "--to", "html", "--base", wrong, "--verify", "full", "-o", tmp_path / "b"
    )

    assert "[E-BASE-MISMATCH]" in line


def test_a_base_without_the_weight_is_refused(tmp_path: Path, capsys: Captured) -> None:
    source = save(without_prints({"enc.k": W}), tmp_path)

    (line,) = refused(capsys, source, "--to", "html", "--base", onnx(tmp_path, W))

    assert "[E-TARGET-NOT-FOUND]" in line
    assert not (tmp_path / "a.html").exists()


def test_a_peft_directory_has_the_norms_of_the_base_it_was_read_with(
    tmp_path: Path, capsys: Captured
) -> None:
    output = tmp_path / "page.html"
    peft, base = DIGITS / "peft_adapter", DIGITS / "base.onnx"

    code, report = as_json(capsys, peft, "--to", "html", "--base", base, "-o", output)

    assert code == 0
    assert len(report["rows"]) == 12
    for said, shown in zip(report["rows"], rows(tmp_path), strict=True):
        assert shown["|ΔW| / |W|"] == f"{said['relative_change']:.3g}"
        assert said["found"]
    assert report["notes"][0].startswith("the base was not verified")
    assert "the base was not verified" in read(tmp_path)


def test_several_sources_are_shown_as_their_sum(tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})
    one, two = save(whole, tmp_path, "a.fft"), save(whole, tmp_path, "b.fft")

    converted(one, two, "--scales", "1,2", "--to", "html", "-o", tmp_path / "page.html")

    (row,) = rows(tmp_path)
    norm = 3 * np.linalg.norm(delta_weight(whole, whole.targets[0], np.float64))
    assert row["|ΔW|"] == f"{norm:.3g}"
    assert "<title>a.fft + b.fft" in read(tmp_path)


def test_an_hdf5_file_has_the_page_of_its_twin_but_for_name_and_size(tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})
    texts = []
    for name in ("a.fft", "a.fft.h5"):
        source = save(whole, tmp_path, name)
        converted(source, "--to", "html", "--force", "-o", tmp_path / "page.html")
        size = f"{source.stat().st_size:,} bytes"
        texts.append(read(tmp_path).replace(name.replace(".", ".<wbr/>"), "").replace(size, ""))

    assert texts[0].split("In the file")[-1].count("SHA-256") == 1
    assert digests(texts[0]) == digests(texts[1])


@pytest.mark.parametrize("option", [["--map", "map.json"], ["--verify", "full"]])
def test_what_is_about_a_base_needs_one(
    option: list[str], tmp_path: Path, capsys: Captured
) -> None:
    source = save(adapter({"enc.q": W}), tmp_path)

    (line,) = refused(capsys, source, "--to", "html", *option, exit_code=2)

    assert "--to html of a .fft has no use for it without --base" in line


def read(folder: Path) -> str:
    return (folder / "page.html").read_text("utf-8")


def digests(text: str) -> list[str]:
    return [row[1] for row in tables(text)["What the adapter says of itself"] if "SHA" in row[0]]
