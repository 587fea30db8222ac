"""Every layer kind computes what the layer computes with W + delta in float64."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_trainers.config import Path
from fourier_trainers.keras.layers import KINDS, kind_of, variable_of
from tests.conformance import vectors
from tests.fourier_trainers.keras.differentiating import BACKEND, COMPILED, USUAL, precise
from tests.fourier_trainers.keras.single import CASES, Adapted, dense
from tests.fourier_trainers.reference import error
from tests.tolerances import SPECTRAL_F64, TRAINED_HALF_RATIO, TRAINED_OUTPUT_F32

PATHS: tuple[Path, ...] = ("weight", "activation")
FEW = ["dense", "abc,cde->abde", "conv", "embedding"]
EACH: list[tuple[str, Path]] = [
    (name, path) for name, case in CASES.items() for path in (PATHS if case.plain else ("auto",))
]
each = pytest.mark.parametrize(("name", "path"), EACH)
VECTORS = [
    vector
    for vector in vectors.of("kinds")
    if vector.json().get("layout") in {None, "in_out", "hwio", "vocab_dim"}
]
HALVES = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def errors(name: str, path: Path, dtype: str, transform: str = "dft2", *, compiled: bool) -> Array:
    """Return the errors of output and gradients."""
    with precise(np.zeros(0, dtype)):
        adapted = Adapted(CASES[name], dtype, path, transform).attach()
        got = adapted.got(compiled)
        expected = adapted.expected(got.g)
    assert got.y.dtype == dtype
    found = [got.y, *got.gradients]
    names = ["y", "values", "x"][: len(found)]
    return np.array([error(a, expected[n]) for a, n in zip(found, names, strict=True)])


@each
def test_output_and_gradients_are_exact(name: str, path: Path) -> None:
    assert errors(name, path, "float32", compiled=USUAL).max() < TRAINED_OUTPUT_F32


@pytest.mark.parametrize(
    ("name", "path"),
    [one for one in EACH if one[0] in {"dense 3-D", "abcd,cde->abe", "conv, groups", "embedding"}],
)
def test_output_and_gradients_are_exact_in_float64(name: str, path: Path) -> None:
    """Without activation: Keras's own tanh gives float32 of float64 on JAX and torch.

    So does its matmul on torch, and with it Keras's own Dense.
    """
    bar = TRAINED_OUTPUT_F32 if BACKEND == "torch" and name == "dense 3-D" else SPECTRAL_F64
    assert errors(name, path, "float64", compiled=USUAL).max() < bar


@pytest.mark.parametrize("transform", ["dct2", "dht2", "dwt2:db3"])
@pytest.mark.parametrize("path", PATHS)
def test_every_transform_is_exact(transform: str, path: Path) -> None:
    found = errors("abc,cde->abde", path, "float32", transform, compiled=USUAL)

    assert found.max() < TRAINED_OUTPUT_F32


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("compiled", COMPILED)
def test_compiled_or_not_it_is_exact(name: str, compiled: bool) -> None:
    assert errors(name, "auto", "float32", compiled=compiled).max() < TRAINED_OUTPUT_F32


@pytest.mark.parametrize(
    ("policy", "name", "path"),
    [
        *(("mixed_float16", *one) for one in EACH if one[0] in FEW),
        *(("mixed_bfloat16", name, "auto") for name in FEW),
        *((policy, name, "auto") for policy in ("float16", "bfloat16") for name in FEW[:2]),
    ],
)
def test_half_precision_is_as_exact_as_the_layer_itself(name: str, path: Path, policy: str) -> None:
    adapted = Adapted(CASES[name], policy, path)
    plain = adapted.plain(USUAL)
    usual = adapted.expected(plain.g, adapted=False)

    got = adapted.attach().got(USUAL)

    half = policy.removeprefix("mixed_")
    least = HALVES[half] / 2
    expected = adapted.expected(got.g)
    assert adapted.layer.fourier.coefficients.dtype == got.gradients[0].dtype == "float32"
    pairs = zip([got.y, *got.gradients], [plain.y, *plain.gradients], expected, strict=False)
    ratios = {n: error(a, expected[n]) / max(error(b, usual[n]), least) for a, b, n in pairs}
    assert {n: r for n, r in ratios.items() if r >= TRAINED_HALF_RATIO} == {}


def layer_of(vector: dict[str, Any]) -> Any:
    """Return a built layer that stores its weight as a vector says."""
    shape = tuple(vector["stored_shape"])
    if vector["kind"] == "linear":
        return built(keras.layers.Dense(shape[1]), shape[0])
    if vector["kind"] == "embedding":
        return built(keras.layers.Embedding(*shape), 3)
    if vector["kind"] == "conv2d":
        return built(keras.layers.Conv2D(shape[3], shape[:2]), 9, 9, shape[2])
    letters, contracted = "abcd"[: len(shape)], vector["contracted"]
    kept = [k for k in range(len(shape)) if k not in contracted]
    inputs, result = ("".join(letters[k] for k in axes) for axes in (contracted, kept))
    equation = f"z{inputs},{letters}->z{result}"
    layer = keras.layers.EinsumDense(equation, tuple(shape[k] for k in kept))
    return built(layer, *(shape[k] for k in contracted))


def built(layer: Any, *axes: int) -> Any:
    layer.build((None, *axes))
    return layer


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_canonical_matrix_is_that_of_the_specification(vector: vectors.Vector) -> None:
    stated = vector.json()
    layer = layer_of(stated)
    kind = kind_of(layer, "layer")
    assert kind is not None
    shape = tuple(stated["stored_shape"])
    stored = np.arange(np.prod(shape)).reshape(shape)
    matrix = np.reshape(stated["canonical"], stated["canonical_shape"])

    assert (kind.kind, tuple(variable_of(layer, kind).shape)) == (stated["kind"], shape)
    assert kind.shape(layer) == matrix.shape
    assert np.array_equal(kind.canonical(layer, stored), matrix)
    assert np.array_equal(kind.stored(layer, matrix), stored)


def test_each_kind_has_a_vector() -> None:
    assert {kind.kind for kind in KINDS} == {vector.json()["kind"] for vector in VECTORS}


@pytest.mark.parametrize("path", PATHS)
def test_an_embedding_still_masks(path: Path) -> None:
    adapted = Adapted(CASES["embedding, mask"], path=path).attach()

    mask = adapted.layer.compute_mask(keras.ops.convert_to_tensor(adapted.x))

    assert np.array_equal(np.asarray(keras.ops.convert_to_numpy(mask)), adapted.x != 0)


@pytest.mark.parametrize("shape", [(0, 24), (2, 0, 24)], ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_inputs_may_be_none(shape: tuple[int, ...], path: Path) -> None:
    adapted = Adapted(CASES["dense 3-D"], path=path).attach()

    y = adapted.layer(np.zeros(shape, np.float32))

    assert tuple(y.shape) == (*shape[:-1], 18)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_small_delta_weight_is_not_rounded_away_with_the_weight(policy: str) -> None:
    """Its product is rounded once, to the output: not in each sum of two weights before."""
    adapted = Adapted(dense("many", (256, 128), 96), policy, "weight", count=300, size=0.01)
    effect = adapted.case.linear(adapted.x, adapted.delta)
    kernel, base = adapted.kernel, adapted.plain(USUAL).y
    adapted.assign(kernel + adapted.delta)
    summed = adapted.plain(USUAL).y
    adapted.assign(kernel)

    y = adapted.attach().got(USUAL).y

    off, usual = (np.linalg.norm(a.astype(np.float64) - base - effect) for a in (y, summed))
    assert off < 0.75 * usual  # seen: 0.6
