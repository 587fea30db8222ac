"""PEFT -> .fft -> PEFT: the same tensors to the byte, and the config's own text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fourier_format
from fourier_format.adapter import Array
from tests.fourier_converters.checkpoints import (
    DIGITS,
    PREFIX,
    config,
    read_tensors,
    spectrum,
    write_base,
    write_peft,
)
from tests.fourier_converters.command import Captured, converted, refused

PEFT = DIGITS / "peft_adapter"
MODEL, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def zeros(*names: str, shape: tuple[int, int] = (6, 4)) -> dict[str, Array]:
    return {f"{name}.weight": np.zeros(shape, np.float32) for name in names}


def there_and_back(source: Path, base: Path, folder: Path) -> Path:
    """Returns the checkpoint that comes back, by way of an .fft file."""
    converted(source, "--to", "fft", "--base", base, "-o", folder / "a.fft")
    converted(folder / "a.fft", "--to", "peft", "-o", folder / "back")
    return folder / "back"


def assert_same(source: Path, back: Path) -> None:
    assert read_tensors(back / MODEL) == read_tensors(source / MODEL)
    assert (back / CONFIG).read_bytes() == (source / CONFIG).read_bytes()


def test_a_checkpoint_that_peft_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    back = there_and_back(PEFT, DIGITS / "base.onnx", tmp_path)

    assert_same(PEFT, back)
    assert sorted(p.name for p in back.iterdir()) == [CONFIG, MODEL]


def test_the_two_containers_convert_into_each_other_without_loss(tmp_path: Path) -> None:
    first, h5, again = tmp_path / "a.fft", tmp_path / "a.fft.h5", tmp_path / "b.fft"
    converted(PEFT, "--to", "fft", "--base", DIGITS / "base.onnx", "-o", first)

    converted(first, "--to", "h5")
    converted(h5, "--to", "fft", "-o", again)

    assert again.read_bytes() == first.read_bytes()


def test_the_same_source_and_base_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.fft", "b.fft"):
        converted(PEFT, "--to", "fft", "--base", DIGITS / "base.onnx", "-o", tmp_path / name)

    assert (tmp_path / "a.fft").read_bytes() == (tmp_path / "b.fft").read_bytes()


def test_modules_may_differ_in_their_number_of_coefficients(tmp_path: Path) -> None:
    settings = config(n_frequency_pattern={r"layer\.1\.query": 3, "value": 7})
    names = ("bert.layer.0.query", "bert.layer.1.query", "layer.1.query", "bert.value")
    tensors = {
        k: v
        for name, n in zip(names, (5, 3, 5, 7), strict=True)
        for k, v in spectrum(name, n).items()
    }
    source = write_peft(tmp_path / "peft", tensors, settings)
    base = write_base(tmp_path / "base", zeros(*names))

    assert_same(source, there_and_back(source, base, tmp_path))

    adapter = fourier_format.load(tmp_path / "a.fft")
    counts = {t.name: adapter.entry_set(t).count for t in adapter.targets}
    assert counts == dict(zip(names, (5, 3, 5, 7), strict=True))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_coefficients_stay_as_they_are(dtype: Any, tmp_path: Path) -> None:
    source = write_peft(tmp_path / "peft", spectrum("q", dtype=dtype))
    base = write_base(tmp_path / "base", zeros("q"))

    assert_same(source, there_and_back(source, base, tmp_path))


def test_layers_of_mixed_precision_and_shape_stay_apart(tmp_path: Path) -> None:
    tensors = spectrum("a.q") | spectrum("b.q", dtype=np.float16) | spectrum("c.q")
    source = write_peft(tmp_path / "peft", tensors)
    weights = zeros("a.q", "b.q") | zeros("c.q", shape=(4, 6))
    base = write_base(tmp_path / "base", weights)

    assert_same(source, there_and_back(source, base, tmp_path))


def test_what_was_trained_beside_the_coefficients_comes_back_under_its_name(
    tmp_path: Path,
) -> None:
    tensors = spectrum("bert.query") | spectrum("lm_head", seed=2)
    tensors |= {
        f"{PREFIX}bert.query.base_layer.bias": np.ones(6, np.float32),
        f"{PREFIX}lm_head.base_layer.weight": np.ones((6, 4), np.float32),
        f"{PREFIX}bert.norm.bias": np.full(6, 2, np.float16),
        f"{PREFIX}classifier.dense.weight": np.full((2, 4), 3, np.float64),
    }
    settings = config(bias="all", modules_to_save=["classifier"], task_type="SEQ_CLS")
    source = write_peft(tmp_path / "peft", tensors, settings)
    base = write_base(tmp_path / "base", zeros("bert.query"))

    assert_same(source, there_and_back(source, base, tmp_path))

    adapter = fourier_format.load(tmp_path / "a.fft")
    names = {"bert.query.bias", "lm_head.weight", "bert.norm.bias", "classifier.dense.weight"}
    assert set(adapter.replacements) == names


def test_unicode_in_names_and_config_is_kept(tmp_path: Path) -> None:
    settings = config(target_modules=["größe"], base_model_name_or_path="模型/😀")
    text = json.dumps(settings, ensure_ascii=False)
    source = write_peft(tmp_path / "adaptér", spectrum("层.größe"), text)
    base = write_base(tmp_path / "base", zeros("层.größe"))

    assert_same(source, there_and_back(source, base, tmp_path))


def test_the_configs_line_endings_and_spaces_are_kept(tmp_path: Path) -> None:
    text = json.dumps(config(), indent=4).replace("\n", "\r\n") + "\r\n\r\n"
    source = write_peft(tmp_path / "peft", spectrum("query"), text)
    base = write_base(tmp_path / "base", zeros("query"))

    assert_same(source, there_and_back(source, base, tmp_path))


def test_peft_counts_layers_in_their_natural_order(tmp_path: Path) -> None:
    names = [f"layer.{i}.query" for i in (0, 2, 10, 1)]
    tensors = {key: v for name in names for key, v in spectrum(name).items()}
    source = write_peft(tmp_path / "peft", tensors)
    base = write_base(tmp_path / "base", zeros(*names))

    converted(source, "--to", "fft", "--base", base, "-o", tmp_path / "a.fft")

    adapter = fourier_format.load(tmp_path / "a.fft")
    assert [t.name for t in adapter.targets] == [f"layer.{i}.query" for i in (0, 1, 2, 10)]


class TestNamedAdapters:
    """PEFT writes "default" to the folder itself, and every other adapter to a subfolder."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        for seed, name in enumerate(("formal", "casual")):
            write_peft(tmp_path / "peft" / name, spectrum("query", seed=seed))
        return tmp_path / "peft"

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        return write_base(tmp_path / "base", zeros("query"))

    def test_each_can_be_chosen(self, source: Path, base: Path, tmp_path: Path) -> None:
        converted(source, "--to", "fft", "--base", base, "--adapter", "casual")
        converted(tmp_path / "peft-casual.fft", "--to", "peft", "-o", tmp_path / "back")

        assert_same(source / "casual", tmp_path / "back")

    def test_one_must_be_chosen(self, source: Path, base: Path, capsys: Captured) -> None:
        (line,) = refused(capsys, source, "--to", "fft", "--base", base, exit_code=2)

        assert "choose one of them with --adapter: casual, formal [E-USAGE]" in line

    def test_a_name_that_is_not_there_is_refused_with_those_that_are(
        self, source: Path, base: Path, capsys: Captured
    ) -> None:
        arguments = (source, "--to", "fft", "--base", base, "--adapter", "../peft/formal")

        (line,) = refused(capsys, *arguments, exit_code=2)

        assert "no adapter '../peft/formal'" in line
        assert "expected one of: casual, formal" in line

    def test_the_default_adapter_beside_named_ones_is_the_default(
        self, source: Path, base: Path, tmp_path: Path
    ) -> None:
        write_peft(source, spectrum("query", seed=9))

        assert_same(source, there_and_back(source, base, tmp_path))


def test_what_peft_writes_twice_is_read_once(tmp_path: Path) -> None:
    """With bias="all" and modules_to_save, PEFT writes the wrapper's biases as well."""
    head = {f"{PREFIX}head.weight": np.ones((2, 6)), f"{PREFIX}head.bias": np.ones(2)}
    twice = {f"{PREFIX}head.{w}.bias": np.ones(2) for w in ("modules_to_save", "original_module")}
    settings = config(bias="all", modules_to_save=["head"])
    source = write_peft(tmp_path / "peft", spectrum("query") | head | twice, settings)
    base = write_base(tmp_path / "base", zeros("query"))

    back = there_and_back(source, base, tmp_path)

    once = write_peft(tmp_path / "once", spectrum("query") | head, settings)
    assert_same(once, back)


def test_what_the_map_skips_is_left_out_and_need_not_be_in_the_base(tmp_path: Path) -> None:
    tensors = spectrum("query") | spectrum("pooler") | {f"{PREFIX}head.bias": np.ones(2)}
    source = write_peft(tmp_path / "peft", tensors, config(target_modules=["query", "pooler"]))
    base = write_base(tmp_path / "base", zeros("query"))
    skip = {"skip": True}
    text = json.dumps({"targets": {"pooler": skip}, "replacements": {"head.bias": skip}})
    (tmp_path / "map.json").write_text(text)

    arguments = ("--base", base, "--map", tmp_path / "map.json", "-o", tmp_path / "a.fft")
    converted(source, "--to", "fft", *arguments)
    converted(tmp_path / "a.fft", "--to", "peft", "-o", tmp_path / "back")

    names = read_tensors(tmp_path / "back" / MODEL)
    settings = json.loads((tmp_path / "back" / CONFIG).read_text("utf-8"))
    assert set(names) == {f"{PREFIX}query.fourierft_spectrum"}
    assert settings["target_modules"] == "query"
