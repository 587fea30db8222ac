"""Adapters for whole models, and torch in float64 with a delta weight of its own for each row."""
# ruff: noqa: TID251 -- torch is what live graphs are compared with

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fourier_format import Adapter, EntrySet, Target
from fourier_format.fingerprint import Fingerprint, fingerprint, stack
from tests.real.live_bases import Base
from tests.real.workspace import Array

COUNT = 200
"""Entries of each shape."""


def adapters(base: Base, count: int) -> list[Adapter]:
    """Return random adapters of every linear layer, laid out as PEFT's: a shape's share entries.

    A delta weight's root mean square is the base's ``strength`` over the square root of its width,
    so that all layers are changed alike.
    """
    weights = base.targets()
    shapes = sorted({w.shape for w in weights.values()})
    random = np.random.default_rng(5)
    cells = {shape: shape[0] * shape[1] for shape in shapes}
    drawn = {s: random.choice(n, min(COUNT, n // 2), replace=False) for s, n in cells.items()}
    prints = {name: fingerprint(np.ascontiguousarray(w), name) for name, w in weights.items()}
    return [_adapter(weights, drawn, prints, base.strength, seed) for seed in range(count)]


def _adapter(
    weights: Mapping[str, Array],
    drawn: Mapping[tuple[int, int], Array],
    prints: Mapping[str, Fingerprint],
    strength: float,
    seed: int,
) -> Adapter:
    random = np.random.default_rng(100 + seed)
    sets, targets = [], []
    for number, (shape, flat) in enumerate(drawn.items()):
        names = [name for name, w in weights.items() if w.shape == shape]
        values = random.standard_normal((len(names), len(flat))).astype(np.float32)
        sets.append(
            EntrySet(
                id=str(number),
                shape=shape,
                entries=np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int32),
                coefficients=values,
                fingerprints=stack([prints[name] for name in names]),
            )
        )
        alpha = strength / np.sqrt(shape[1]) * shape[0] * shape[1] / np.sqrt(len(flat) / 2)
        targets += [
            Target(name=n, kind="linear", shape=shape, entries=str(number), row=r, alpha=alpha)
            for r, n in enumerate(names)
        ]
    return Adapter(alpha=1.0, entry_sets=tuple(sets), targets=tuple(targets))


Row = Mapping[int, float]
"""How much of each adapter a row has: {} is the base, {3: 0.7, 5: 0.3} a blend."""


@dataclass(frozen=True, slots=True)
class _Waves:
    """Cosines and sines of the entries of one shape, for (out, n) and (in, n)."""

    out: tuple[torch.Tensor, torch.Tensor]
    in_: tuple[torch.Tensor, torch.Tensor]


def reference(
    base: Base, wholes: Sequence[Adapter], rows: Sequence[Row], inputs: Mapping[str, Array]
) -> list[Array]:
    """Return what torch computes in float64, row r with the delta weights of ``rows[r]``.

    x delta^T is added to each layer's output, by the formula of dft2: cos(a + b) =
    cos a cos b - sin a sin b. No FFT and no float32 is in it.
    """
    model = base.model().double()
    for name, weight in (base.rounded() if base.rounded else {}).items():
        model.get_submodule(name).weight.data = torch.from_numpy(weight.astype(np.float64))
    hooks = [
        model.get_submodule(target.name).register_forward_hook(_hook(wholes, target, rows))
        for target in (wholes[0].targets if wholes else ())
    ]
    with torch.no_grad():
        given = {key: torch.from_numpy(value) for key, value in inputs.items()}
        result = list(model(**given).values())[: base.outputs]
    for hook in hooks:
        hook.remove()
    return [output.numpy() for output in result]


def _hook(
    wholes: Sequence[Adapter], target: Target, rows: Sequence[Row]
) -> Callable[..., torch.Tensor]:
    waves = _waves(wholes[0], target)
    values = np.zeros((len(rows), 1, len(wholes[0].coefficients(target))))
    for number, row in enumerate(rows):
        for which, share in row.items():
            stored = wholes[which].coefficients(target).astype(np.float64)
            values[number, 0] += share * wholes[which].alpha_of(target) * stored
    scaled = torch.from_numpy(values / (target.shape[0] * target.shape[1]))

    def add(
        _: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        x = given[0].reshape(len(rows), -1, target.shape[1])
        cosines, sines = (
            (x @ of_in) * scaled @ of_out.T
            for of_in, of_out in zip(waves.in_, waves.out, strict=True)
        )
        return output + (cosines - sines).reshape(output.shape)

    return add


def _waves(whole: Adapter, target: Target) -> _Waves:
    entries = whole.entry_set(target).entries.astype(np.int64)
    sides = []
    for axis, size in enumerate(target.shape):
        angle = 2 * np.pi * (np.outer(np.arange(size), entries[:, axis]) % size) / size
        sides.append((torch.from_numpy(np.cos(angle)), torch.from_numpy(np.sin(angle))))
    return _Waves(*sides)
