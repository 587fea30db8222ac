"""Views: steps that can be done, undone, and followed for single elements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_converters.onnx.views import Reshaped, Step, Transposed, View, matrix_view
from fourier_format.adapter import Array

_SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def _reshapes(draw: st.DrawFn, size: int) -> Reshaped:
    """Draws a shape of `size` elements, its factors divided among axes at random."""
    axes = [1] * draw(st.integers(1, 4))
    factor = 2
    while size > 1:
        while size % factor:
            factor += 1
        axes[draw(st.integers(0, len(axes) - 1))] *= factor
        size //= factor
    return Reshaped(tuple(axes))


@st.composite
def _views(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> tuple[View, list[Step]]:
    """Draws a view and the steps that it was built of."""
    view = View(draw(_SHAPES) if shape is None else shape)
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 5))):
        axes = range(len(view.result))
        turned = st.permutations(axes).map(lambda order: Transposed(tuple(order)))
        steps.append(draw(turned | _reshapes(math.prod(view.result))))
        view = view.then(steps[-1])
    return view, steps


def _numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(math.prod(shape)).reshape(shape)


def _by_numpy(steps: list[Step], array: Array) -> Array:
    for step in steps:
        if isinstance(step, Transposed):
            array = np.transpose(array, step.order)
        else:
            array = np.reshape(array, step.shape)
    return array


@given(_views())
def test_a_view_does_what_its_steps_do_one_after_the_other(drawn: tuple[View, list[Step]]) -> None:
    view, steps = drawn
    stored = _numbered(view.shape)

    applied = view.apply(stored)

    assert np.array_equal(applied, _by_numpy(steps, stored))
    assert applied.shape == view.result
    assert len(view.steps) <= len(steps)


@given(_views())
def test_what_was_done_can_be_undone(drawn: tuple[View, list[Step]]) -> None:
    view, _ = drawn
    stored = _numbered(view.shape)

    assert np.array_equal(view.invert(view.apply(stored)), stored)


@given(_views())
def test_an_element_is_located_where_it_came_from(drawn: tuple[View, list[Step]]) -> None:
    view, _ = drawn
    stored = _numbered(view.shape)
    index = tuple(grid.reshape(-1) for grid in np.indices(view.result))

    located = stored[view.locate(index)]

    assert np.array_equal(located, view.apply(stored)[index])


@given(st.data())
def test_joined_views_do_one_after_the_other(data: st.DataObject) -> None:
    first, _ = data.draw(_views())
    second, _ = data.draw(_views(first.result))
    stored = _numbered(first.shape)

    whole = first.joined(second)

    assert np.array_equal(whole.apply(stored), second.apply(first.apply(stored)))
    assert whole.result == second.result


@pytest.mark.parametrize(
    "steps",
    [
        [Transposed((0, 1, 2))],
        [Reshaped((2, 3, 4))],
        [Transposed((2, 0, 1)), Transposed((1, 2, 0))],
        [Reshaped((6, 4)), Reshaped((24,)), Reshaped((2, 3, 4))],
        [Transposed((1, 0, 2)), Reshaped((6, 4)), Reshaped((3, 2, 4)), Transposed((1, 0, 2))],
    ],
)
def test_steps_that_do_nothing_are_left_out(steps: list[Step]) -> None:
    """Two ways of reading a tensor are compared by their views."""
    view = View((2, 3, 4))
    for step in steps:
        view = view.then(step)

    assert view == View((2, 3, 4))


def test_many_reshapes_are_one_step() -> None:
    view = View((2, 3, 4)).then(Transposed((2, 1, 0)))
    for shape in ((12, 2), (24,), (4, 6)) * 100:
        view = view.then(Reshaped(shape))

    assert view.steps == (Transposed((2, 1, 0)), Reshaped((4, 6)))


@pytest.mark.parametrize(
    ("shape", "order", "out_axes", "matrix"),
    [
        ((4, 6), (1, 0), 1, (6, 4)),
        ((6, 4), (0, 1), 1, (6, 4)),
        ((5, 2, 3), (1, 2, 0), 2, (6, 5)),
        ((8, 3, 2, 2), (0, 1, 2, 3), 1, (8, 12)),
    ],
)
def test_the_matrix_view_is_out_by_in(
    shape: tuple[int, ...], order: tuple[int, ...], out_axes: int, matrix: tuple[int, int]
) -> None:
    stored = _numbered(shape)

    view = matrix_view(shape, order, out_axes)

    assert view.result == matrix
    assert np.array_equal(view.apply(stored), np.transpose(stored, order).reshape(matrix))


def test_a_transposed_matrix_is_seen_and_not_copied() -> None:
    stored = np.zeros((4, 6))

    assert np.shares_memory(View((4, 6)).then(Transposed((1, 0))).apply(stored), stored)
