"""The canonical matrix W: the layer computes y = x W^T with it, however a base stores it."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.errors import UsageError
from fourier_format.kinds import LAYOUTS, canonical_matrix, stored_form

RNG = np.random.default_rng(1)


def test_a_linear_weight_is_taken_as_it_is_or_transposed() -> None:
    weight = RNG.random((3, 5))  # torch: (out, in)

    assert np.array_equal(canonical_matrix(weight, "linear", "out_in"), weight)
    assert np.array_equal(canonical_matrix(weight.T, "linear", "in_out"), weight)


def test_a_convolution_is_output_channels_by_input_channels_height_and_width() -> None:
    weight = RNG.random((4, 3, 2, 5))  # torch: (O, I/g, kh, kw)

    found = canonical_matrix(weight, "conv2d", "oihw")

    assert found.shape == (4, 30)
    for o, i, h, w in np.ndindex(weight.shape):
        assert found[o, (i * 2 + h) * 5 + w] == weight[o, i, h, w]
    hwio = weight.transpose(2, 3, 1, 0)  # Keras
    assert np.array_equal(canonical_matrix(hwio, "conv2d", "hwio"), found)


def test_a_convolution_is_y_equals_x_w_transposed_on_patches() -> None:
    weight, patch = RNG.random((4, 3, 2, 2)), RNG.random((3, 2, 2))

    by_matrix = patch.reshape(-1) @ canonical_matrix(weight, "conv2d", "oihw").T

    np.testing.assert_allclose(by_matrix, np.einsum("oihw,ihw->o", weight, patch))


def test_an_embedding_has_the_dimensions_as_output_and_the_vocabulary_as_input() -> None:
    table = RNG.random((10, 4))  # (vocab, dim)
    one_hot = np.eye(10)[7]

    found = canonical_matrix(table, "embedding", "vocab_dim")

    assert found.shape == (4, 10)
    np.testing.assert_array_equal(one_hot @ found.T, table[7])


def test_an_attentions_query_kernel_is_heads_and_size_by_model() -> None:
    kernel, x = RNG.random((6, 2, 3)), RNG.random(6)  # Keras: (d, heads, h)

    found = canonical_matrix(kernel, "einsum_dense", contracted=(0,))

    assert found.shape == (6, 6)
    np.testing.assert_allclose(x @ found.T, np.einsum("d,dnh->nh", x, kernel).reshape(-1))


@pytest.mark.parametrize("contracted", [(0, 1), (1, 0)])
def test_an_attentions_output_kernel_is_model_by_heads_and_size(
    contracted: tuple[int, ...],
) -> None:
    kernel, x = RNG.random((2, 3, 5)), RNG.random((2, 3))  # Keras: (heads, h, d)

    found = canonical_matrix(kernel, "einsum_dense", contracted=contracted)

    assert found.shape == (5, 6)
    np.testing.assert_allclose(x.reshape(-1) @ found.T, np.einsum("nh,nhd->d", x, kernel))


def test_a_matrix_is_a_view_where_it_can_be() -> None:
    weight = RNG.random((3, 5))

    assert np.shares_memory(canonical_matrix(weight, "linear", "in_out"), weight)


@pytest.mark.parametrize(
    ("kind", "layout"), [(kind, layout) for kind in LAYOUTS for layout in LAYOUTS[kind]]
)
def test_a_matrix_goes_back_into_the_form_that_it_came_from(kind: str, layout: str) -> None:
    stored = RNG.random((2, 3, 5, 7)[: len(LAYOUTS[kind][layout])])

    back = stored_form(canonical_matrix(stored, kind, layout), kind, layout, stored.shape)

    assert np.array_equal(back, stored)


@pytest.mark.parametrize("contracted", [(0,), (2,), (1,), (0, 1), (2, 0), (1, 2)])
def test_an_einsum_kernel_goes_back_into_the_form_that_it_came_from(
    contracted: tuple[int, ...],
) -> None:
    stored = RNG.random((2, 3, 5))
    matrix = canonical_matrix(stored, "einsum_dense", contracted=contracted)

    back = stored_form(matrix, "einsum_dense", None, stored.shape, contracted)

    assert np.array_equal(back, stored)


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_every_layout_of_every_kind_uses_each_axis_once(kind: str) -> None:
    for order in LAYOUTS[kind].values():
        assert sorted(order) == list(range(len(order)))


@pytest.mark.parametrize(
    ("axes", "kind", "layout", "contracted"),
    [
        (2, "conv3d", "oihw", ()),
        (2, "linear", None, ()),
        (2, "linear", "oihw", ()),
        (3, "linear", "out_in", ()),
        (2, "conv2d", "oihw", ()),
        (1, "embedding", "vocab_dim", ()),
        (3, "einsum_dense", None, ()),
        (3, "einsum_dense", None, (0, 1, 2)),
        (3, "einsum_dense", None, (3,)),
        (3, "einsum_dense", None, (0, 0)),
        (3, "einsum_dense", None, (-1,)),
    ],
)
def test_a_kind_or_layout_that_does_not_fit_the_weight_is_refused(
    axes: int, kind: str, layout: str | None, contracted: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        canonical_matrix(np.ones((2,) * axes), kind, layout, contracted)

    assert caught.value.code == "E-KIND-UNKNOWN"
    assert f"{axes} axes" in str(caught.value)
