"""Several sources: their weighted sum, whatever is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fourier_format
from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.checkpoints import spectrum, write_peft
from tests.fourier_converters.command import Captured, as_json, converted, refused
from tests.fourier_converters.graphs import LINEAR, matrix, model, run, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.quantised import IN, nbits, run_plainly
from tests.fourier_converters.onnx.quantised import W as WIDE

W = weight()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    proto = model(LINEAR, {"val_1": W.T}, {"node_MatMul": "query"})
    return save_model(proto, tmp_path / "base.onnx")


def one() -> Adapter:
    return adapter({"query": W}, alpha=10.0)


def other() -> Adapter:
    """An adapter with another alpha, of other entries."""
    return adapter({"query": W}, alpha=-25.0, count=9)


def assert_close(got: Array, expected: Array) -> None:
    assert np.abs(got - expected).max() <= 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("option", "scales"),
    [([], (1, 1)), (["--scales", "0.7,0.3"], (0.7, 0.3)), (["--scales=-1,2"], (-1, 2))],
)
def test_a_merge_of_several_adds_the_sum_of_their_deltas(
    option: list[str], scales: tuple[float, float], base: Path, tmp_path: Path
) -> None:
    files = [save(one(), tmp_path, "one.fft"), save(other(), tmp_path, "other.fft")]

    converted(*files, *option, "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

    expected = W + sum(
        scale * delta(whole, "query") for scale, whole in zip(scales, (one(), other()), strict=True)
    )
    assert_close(matrix(tmp_path / "m.onnx", 4), expected)


def test_one_source_can_be_scaled(base: Path, tmp_path: Path) -> None:
    file = save(one(), tmp_path)

    converted(file, "--scales", "0.25", "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

    assert_close(matrix(tmp_path / "m.onnx", 4), W + 0.25 * delta(one(), "query"))


def test_the_sum_can_stand_beside_a_quantised_weight(tmp_path: Path) -> None:
    base = save_model(nbits().model(), tmp_path / "base.onnx")
    wholes = [without_prints({"enc.q": WIDE}, alpha=400.0, count=n) for n in (5, 20)]
    files = [save(whole, tmp_path, f"{i}.fft") for i, whole in enumerate(wholes)]
    output = tmp_path / "m.onnx"

    converted(*files, "--scales", "0.5,2", "--to", "onnx", "--base", base, "-o", output)

    x = np.random.default_rng(3).standard_normal((5, IN)).astype(np.float32)
    got = run_plainly(output, x=x).astype(np.float64) - run_plainly(base, x=x)
    deltas = [delta(whole, "enc.q") for whole in wholes]
    expected = x @ (0.5 * deltas[0] + 2 * deltas[1]).T
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_file_and_a_checkpoint_are_summed(base: Path, tmp_path: Path) -> None:
    peft = write_peft(tmp_path / "peft", spectrum("query"))
    file = save(one(), tmp_path)
    alone, both = tmp_path / "alone.onnx", tmp_path / "both.onnx"

    converted(peft, "--to", "onnx", "--base", base, "-o", alone)
    converted(peft, file, "--to", "onnx", "--base", base, "-o", both)

    assert_close(matrix(both, 4), matrix(alone, 4) + delta(one(), "query"))


@pytest.mark.parametrize("to", ["fft", "h5", "peft"])
def test_the_sum_is_an_adapter_too(to: str, tmp_path: Path, base: Path) -> None:
    files = [save(one(), tmp_path, "one.fft"), save(one(), tmp_path, "two.fft")]
    output = tmp_path / "sum"

    converted(*files, "--scales", "2,1", "--to", to, "-o", output)

    if to == "peft":
        back: list[str | Path] = [output, "--base", base]
        converted(*back, "--to", "fft", "-o", tmp_path / "back.fft")
        output = tmp_path / "back.fft"
    assert_close(delta(fourier_format.load(output), "query"), 3 * delta(one(), "query"))


def test_adapters_of_two_bases_are_not_summed(tmp_path: Path, base: Path, capsys: Captured) -> None:
    stranger = adapter({"query": weight(seed=9)})
    files = [save(one(), tmp_path, "one.fft"), save(stranger, tmp_path, "two.fft")]

    (line,) = refused(capsys, *files, "--to", "onnx", "--base", base)

    assert line.endswith("[E-BASE-MISMATCH]")


def test_the_map_speaks_of_the_targets_of_them_all(
    tmp_path: Path, base: Path, capsys: Captured
) -> None:
    files = [save(one(), tmp_path, "one.fft"), save(adapter({"gone": W}), tmp_path, "two.fft")]
    path = tmp_path / "map.json"
    path.write_text('{"targets": {"gone": {"skip": true}}}')

    _, found = as_json(capsys, *files, "--to", "onnx", "--base", base, "--map", path)

    assert found["skipped"] == ["gone"]
    assert [row["target"] for row in found["rows"]] == ["query"]
    path.write_text('{"targets": {"typo": {"skip": true}}}')
    lines = refused(
        capsys, *files, "--to", "onnx", "--base", base, "--map", path, "--force", exit_code=2
    )
    assert "targets.typo: the adapter has nothing of this name" in lines[0]


def test_the_order_of_the_sources_does_not_matter(base: Path, tmp_path: Path) -> None:
    files = [save(one(), tmp_path, "one.fft"), save(other(), tmp_path, "other.fft")]
    x = np.eye(4, dtype=np.float32)

    for name, sources in (("a", files), ("b", files[::-1])):
        output = tmp_path / f"{name}.onnx"
        converted(*sources, "--to", "onnx", "--base", base, "-o", output)

    assert_close(run(tmp_path / "a.onnx", x=x)[0], run(tmp_path / "b.onnx", x=x)[0])
