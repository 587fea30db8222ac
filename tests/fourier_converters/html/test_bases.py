"""A base is checked as merging checks it, and says how large the changes are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fourier_format import Adapter, delta_weight
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, replaced, save, without_prints
from tests.fourier_converters.checkpoints import DIGITS, write_base
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.graphs import LINEAR, model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.html.document import elements, tables
from tests.fourier_converters.keras.setting import UP, dense, write_archive, write_weights
from tests.fourier_converters.onnx.quantised import W as WIDE
from tests.fourier_converters.onnx.quantised import nbits

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
    how = "by samples and norm" if make is adapter else "by name alone"
    assert f"{base.name}: of 1 target: 1 {how}" in read(tmp_path)


class TestHowItWasCompared:
    """A note counts the targets by what a base's checks could compare of each."""

    def note(self, whole: Adapter, base: Path, folder: Path, *options: str | Path) -> str:
        source, output = save(whole, folder), folder / "page.html"
        converted(source, "--to", "html", "--base", base, *options, "-o", output)
        notes = [one.text for one in elements(read(folder)) if one.name == "li"]
        (note,) = [text for text in notes if f"{base.name}: of " in text]
        return note.removeprefix("note ")

    def test_full_verification_is_said(self, tmp_path: Path) -> None:
        base = checkpoint(tmp_path, W)

        note = self.note(adapter({"enc.q": W}), base, tmp_path, "--verify", "full")

        assert note == "model.safetensors: of 1 target: 1 by samples, norm and SHA-256"

    def test_norms_in_another_dtype_are_compared_within_its_rounding(self, tmp_path: Path) -> None:
        base = checkpoint(tmp_path, W.astype(ml_dtypes.bfloat16))

        note = self.note(adapter({"enc.q": W}), base, tmp_path, "--verify", "full")

        assert note == (
            "model.safetensors: of 1 target: 1 by samples and by norm within 0.00391 of it "
            "(BF16 in the base, trained on F32)"
        )

    def test_of_quantised_weights_only_the_samples_are(self, tmp_path: Path) -> None:
        base = save_model(nbits().model(), tmp_path / "base.onnx")

        note = self.note(adapter({"enc.q": WIDE}), base, tmp_path)

        assert note == "base.onnx: of 1 target: 1 quantised: by samples alone"

    def test_sets_with_fingerprints_count_though_others_have_none(self, tmp_path: Path) -> None:
        whole = adapter({"enc.q": W, "enc.k": W + 1})
        first, second = whole.entry_sets
        whole = replaced(whole, entry_sets=(first, replaced(second, fingerprints=None)))
        base = write_base(tmp_path / "base", {"enc.q.weight": W, "enc.k.weight": W + 1})

        note = self.note(whole, base, tmp_path)

        assert note == (
            "model.safetensors: of 2 targets: 1 by samples and norm; "
            "1 by name alone, as the adapter has no fingerprint of it"
        )

    def test_what_the_map_skips_is_listed_with_where_its_norm_is_from(self, tmp_path: Path) -> None:
        whole = adapter({"enc.q": W, "enc.k": W + 1})
        path = tmp_path / "map.json"
        path.write_text('{"targets": {"enc.k": {"skip": true}}}')

        note = self.note(whole, checkpoint(tmp_path, W), tmp_path, "--map", path)

        assert note == "model.safetensors: of 2 targets: 1 by samples and norm"
        said = "1 skipped by the map, so not compared: enc.k; where |W| is shown of them"
        assert said in read(tmp_path)
        skipped = {row["target"]: row for row in rows(tmp_path)}["enc.k"]
        assert skipped["found in"] == "-"
        assert skipped["|W|"] == f"{np.linalg.norm(W + 1):.3g}"

    def test_what_the_map_skips_is_why_a_norm_is_not_known(self, tmp_path: Path) -> None:
        whole = without_prints({"enc.q": W, "enc.k": W + 1})
        path = tmp_path / "map.json"
        path.write_text('{"targets": {"enc.k": {"skip": true}}}')

        self.note(whole, checkpoint(tmp_path, W), tmp_path, "--map", path)

        page = read(tmp_path)
        assert "the norms of 1 of 2 base weights are not known, so that nothing says how" in page
        assert "nothing else could be checked. The map skips them." in page
        assert "--base" not in read(tmp_path)

    def test_what_is_skipped_of_a_peft_directory_is_said_to_be_missing(
        self, tmp_path: Path
    ) -> None:
        path, output = tmp_path / "map.json", tmp_path / "page.html"
        gone = "blocks.0.attention.key"
        path.write_text(json.dumps({"targets": {gone: {"skip": True}}}))
        peft, base = DIGITS / "peft_adapter", DIGITS / "base.onnx"

        converted(peft, "--to", "html", "--base", base, "--map", path, "-o", output)

        assert f"1 left out by the map, so not on this page: {gone}" in read(tmp_path)


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


@pytest.mark.parametrize("write", BASES)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(
    value: float, write: Write, tmp_path: Path, capsys: Captured
) -> None:
    broken = np.array(W)
    broken[0, 1] = value
    source, base = save(without_prints({"enc.q": W}), tmp_path), write(tmp_path, broken)

    (line,) = refused(capsys, source, "--to", "html", "--base", base, "-o", tmp_path / "a.html")

    assert "enc.q: " in line
    assert "in the base is not finite; use a base whose weights are finite" in line
    assert "[E-NUMBER-NONFINITE" in line
    assert not (tmp_path / "a.html").exists()


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
    assert "<title>1 x a.fft + 2 x b.fft:" in read(tmp_path)
    assert facts(read(tmp_path))["source"] == "1 x a.fft + 2 x b.fft"


def test_a_sum_without_scales_is_called_by_its_sources(tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})
    one, two = save(whole, tmp_path, "a.fft"), save(whole, tmp_path, "b.fft")

    converted(one, two, "--to", "html", "-o", tmp_path / "page.html")

    assert "<title>a.fft + b.fft:" in read(tmp_path)


def test_the_adapter_of_a_peft_directory_is_named(tmp_path: Path) -> None:
    peft = tmp_path / "peft"
    shutil.copytree(DIGITS / "peft_adapter", peft / "legal")
    base = DIGITS / "base.onnx"
    output = tmp_path / "page.html"

    converted(peft, "--adapter", "legal", "--to", "html", "--base", base, "-o", output)

    assert "<title>peft/legal:" in read(tmp_path)
    assert facts(read(tmp_path))["source"] == "peft/legal"


def test_an_hdf5_file_has_the_page_of_its_twin_but_for_name_and_size(tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})
    texts = []
    for name in ("a.fft", "a.fft.h5"):
        source = save(whole, tmp_path, name)
        converted(source, "--to", "html", "--force", "-o", tmp_path / "page.html")
        text = read(tmp_path)
        assert facts(text)["source"] == name
        own = (f"<title>{name}:", name.replace(".", ".<wbr/>"), f"{source.stat().st_size:,} bytes")
        for one in own:
            assert one in text
            text = text.replace(one, "")
        texts.append(re.sub("<dt>file</dt><dd>[^<]+", "", text))

    assert texts[0] == texts[1]


@pytest.mark.parametrize("option", [["--map", "map.json"], ["--verify", "full"]])
def test_what_is_about_a_base_needs_one(
    option: list[str], tmp_path: Path, capsys: Captured
) -> None:
    source = save(adapter({"enc.q": W}), tmp_path)

    (line,) = refused(capsys, source, "--to", "html", *option, exit_code=2)

    assert "--to html of a .fft has no use for it without --base" in line


def read(folder: Path) -> str:
    return (folder / "page.html").read_text("utf-8")


def facts(text: str) -> dict[str, str]:
    return dict(tables(text)["What the adapter says of itself"])
