"""Views: how a stored tensor becomes the canonical matrix, and how a matrix is stored again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fourier_format.adapter import Array


class Transposed(NamedTuple):
    """Axes in another order, as in numpy.transpose."""

    order: tuple[int, ...]


class Reshaped(NamedTuple):
    """Another shape of as many values."""

    shape: tuple[int, ...]


Step = Transposed | Reshaped


@dataclass(frozen=True, slots=True)
class View:
    """Steps from a tensor of one shape to one of another; each can be undone.

    Attributes:
        shape: The shape before the steps.
        steps: What is done to it, in order.
    """

    shape: tuple[int, ...]
    steps: tuple[Step, ...] = ()

    @property
    def result(self) -> tuple[int, ...]:
        """The shape after the steps."""
        return self._shapes()[-1]

    def then(self, step: Step) -> View:
        """Returns the view with one more step; steps that do nothing are left out."""
        before = self.result
        if step in (Transposed(tuple(range(len(before)))), Reshaped(before)):
            return self
        if isinstance(step, Transposed) and self.steps and isinstance(self.steps[-1], Transposed):
            order = tuple(self.steps[-1].order[axis] for axis in step.order)
            return View(self.shape, self.steps[:-1]).then(Transposed(order))
        if isinstance(step, Reshaped) and self.steps and isinstance(self.steps[-1], Reshaped):
            return View(self.shape, self.steps[:-1]).then(step)
        return View(self.shape, (*self.steps, step))

    def joined(self, other: View) -> View:
        """Returns the view that does this and then `other`, which begins with this one's result."""
        whole = self
        for step in other.steps:
            whole = whole.then(step)
        return whole

    def apply(self, stored: Array) -> Array:
        """Returns `stored` after the steps; NumPy's view of it where there is one."""
        for step in self.steps:
            stored = _done(step, stored)
        return stored

    def invert(self, result: Array) -> Array:
        """Returns what becomes `result` by the steps."""
        for step, before in zip(reversed(self.steps), self._shapes()[-2::-1], strict=True):
            if isinstance(step, Transposed):
                result = np.transpose(result, np.argsort(step.order))
            else:
                result = result.reshape(before)
        return result

    def locate(self, index: tuple[Array, ...]) -> tuple[Array, ...]:
        """Returns where the elements at `index` of the result lie in the stored tensor."""
        shapes = self._shapes()
        for step, before, after in zip(
            reversed(self.steps), shapes[-2::-1], shapes[:0:-1], strict=True
        ):
            if isinstance(step, Transposed):
                index = tuple(index[axis] for axis in np.argsort(step.order))
            else:
                flat = np.ravel_multi_index(index, after)
                index = np.unravel_index(flat, before)
        return index

    def _shapes(self) -> list[tuple[int, ...]]:
        shapes = [self.shape]
        for step in self.steps:
            if isinstance(step, Transposed):
                shapes.append(tuple(shapes[-1][axis] for axis in step.order))
            else:
                shapes.append(step.shape)
        return shapes


def matrix_view(shape: tuple[int, ...], order: tuple[int, ...], out_axes: int) -> View:
    """Returns the view to (out, in): axes in `order`, the first `out_axes` of them the output's."""
    view = View(shape).then(Transposed(order))
    arranged = view.result
    out = math.prod(arranged[:out_axes])
    return view.then(Reshaped((out, math.prod(arranged[out_axes:]))))


def _done(step: Step, array: Array) -> Array:
    if isinstance(step, Transposed):
        return np.transpose(array, step.order)
    return array.reshape(step.shape)
