"""The first axis of every input is 0, 1 or the batch; anything else is an error of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.graphs import model, weight
from tests.fourier_converters.onnx.layers import values
from tests.fourier_converters.onnx.live.served import (
    Served,
    adapter,
    batch,
    elsewhere,
    serve,
    tuned,
    worst,
)
from tests.fourier_converters.onnx.merged import rename
from tests.real.cuda_kernels import operators, opset, without_kernel
from tests.tolerances import LIVE_F32

IN, OUT = 24, 16
W, C, D = weight(OUT, IN), weight(6, OUT, seed=1), values(6)
PARTS: Final = (
    "a bank",
    "a further bank",
    "a head's weight",
    "its bias",
)


def proto(kind: str) -> Any:
    """Returns a layer and a head; tokens lie behind, in front, or within the rows."""
    before, after, shape = {
        "no tokens": ("t = Identity (x)", "y = Identity (o)", f"batch, {IN}"),
        "tokens": ("t = Identity (x)", "y = Identity (o)", f"batch, T, {IN}"),
        "tokens first": (
            "t = Transpose <perm = [1, 0, 2]> (x)",
            "y = Transpose <perm = [1, 0, 2]> (o)",
            f"batch, T, {IN}",
        ),
        "flattened": (
            f"f = Constant <value = int64[2] {{-1, {IN}}}> () t = Reshape (x, f)",
            "u = Constant <value = int64[3] {-1, 4, 6}> () y = Reshape (o, u)",
            f"batch, 4, {IN}",
        ),
    }[kind]
    text = f"""
        g (float[{shape}] x) => (float[{shape.replace(str(IN), "6")}] y) {{
            {before} [q] q = MatMul (t, w) [h] p = MatMul (q, c) o = Add (p, d) {after}
        }}
    """
    made = model(text, {"w": W.T, "c": C.T, "d": D}, {"q": "q", "h": "head"})
    rename(made, "c", "head.weight")
    rename(made, "d", "head.bias")
    return made


def wholes() -> list[Adapter]:
    first = adapter({"q": W}, alpha=50.0)
    heads = {"head.weight": values(6, OUT, seed=5), "head.bias": values(6, seed=6)}
    return [first, tuned(elsewhere(first), 3, replacements=heads)]


def served_as(kind: str, folder: Path, *, static: bool = False) -> Served:
    return serve(proto(kind), wholes(), folder, static=static)


def x_of(kind: str, rows: int) -> Array:
    return batch(rows, IN) if kind == "no tokens" else batch(rows, 4, IN)


def feeds(served: Served, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Returns values for each of PARTS, of the first axis that is asked."""
    layouts = served.interface.layouts
    named = dict(zip(PARTS, layouts, strict=True))
    return {
        named[part]: values(rows, *layouts[named[part]], seed=rows) for part, rows in sizes.items()
    }


KINDS: Final = ("no tokens", "tokens", "tokens first", "flattened")
every = pytest.mark.parametrize("kind", KINDS)


@every
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 6])
@pytest.mark.parametrize("name", PARTS)
def test_any_other_size_is_an_error(
    name: str, rows: int, static: bool, kind: str, tmp_path: Path
) -> None:
    """Divisors and multiples of the batch too, of which a broadcast or a reshape could make one."""
    served = served_as(kind, tmp_path, static=static)
    given = x_of(kind, rows)
    for size in sorted({2, 3, 4, 5, 6, 7, 12, 2 * rows} - {rows}):
        with pytest.raises(Exception, match="rows_are_1_or_batch"):
            served.fed(feeds(served, {name: size}), x=given)
    served.fed(feeds(served, {name: rows}), x=given)
    served.fed(feeds(served, {name: 1}), x=given)


@every
@pytest.mark.parametrize("rows", [1, 4])
def test_one_wrong_input_among_good_ones_is_an_error(kind: str, rows: int, tmp_path: Path) -> None:
    served = served_as(kind, tmp_path)
    given = x_of(kind, rows)
    for name in PARTS:
        sizes = dict.fromkeys(PARTS, rows) | {name: rows + 1}
        with pytest.raises(Exception, match="rows_are_1_or_batch"):
            served.fed(feeds(served, sizes), x=given)
    served.fed(feeds(served, dict.fromkeys(PARTS, rows)), x=given)


@every
def test_inputs_of_1_of_0_and_of_the_batch_may_be_mixed(kind: str, tmp_path: Path) -> None:
    """One for all rows is the same for each; none is zeros."""
    served = served_as(kind, tmp_path)
    given = x_of(kind, 3)
    mixed = feeds(served, dict(zip(PARTS, (1, 3, 1, 3), strict=True)))
    second = list(served.interface.layouts)[1]
    del mixed[second]
    full = {name: np.repeat(v, 3 // len(v), axis=0) for name, v in mixed.items()}
    full[second] = np.zeros((3, *served.interface.layouts[second]), np.float32)

    assert worst(served.fed(mixed, x=given), served.fed(full, x=given)) <= LIVE_F32


@every
def test_an_input_of_no_rows_is_as_if_it_were_not_fed(kind: str, tmp_path: Path) -> None:
    served = served_as(kind, tmp_path)
    given = x_of(kind, 3)
    nothing = feeds(served, dict.fromkeys(PARTS, 0))

    assert np.array_equal(served.fed(nothing, x=given), served.unchanged(x=given))


@every
def test_another_number_of_targets_or_entries_is_an_error(kind: str, tmp_path: Path) -> None:
    served = served_as(kind, tmp_path)
    name = next(iter(served.interface.layouts))
    targets, count = served.interface.layouts[name]
    for layout in ((targets + 1, count), (targets, count + 1), (targets, count - 1)):
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT|rows_are_1_or_batch"):
            served.fed({name: values(3, *layout)}, x=x_of(kind, 3))


@every
@pytest.mark.parametrize("static", [False, True])
def test_every_added_operator_has_a_kernel_of_the_cuda_provider(
    kind: str, static: bool, tmp_path: Path
) -> None:
    """Banks, heads and biases, however rows lie."""
    served = served_as(kind, tmp_path, static=static)

    added = operators(served.path) - operators(served.base)

    assert without_kernel(added, opset(served.path)) == set()


@every
def test_a_base_with_rows_of_its_own_number_of_tokens(kind: str, tmp_path: Path) -> None:
    """A batch whose size is also that of the tokens: rows are rows."""
    served = served_as(kind, tmp_path)
    rows = [None, wholes()[0], wholes()[1], None]
    x = x_of(kind, 4)

    together = served.run(rows, x=x)

    for number, row in enumerate(rows):
        alone = served.run([row], x=x[number : number + 1])
        assert worst(together[number : number + 1], alone) <= LIVE_F32
