"""Tokens of several sequences in one axis: `fourier.row_adapter` says whose each token is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from fourier_converters.onnx.live import read_interface
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.layers import values
from tests.fourier_converters.onnx.live.served import Served, adapter, batch, serve, tuned, worst
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.test_attention import AROUND, attention, weights
from tests.tolerances import LIVE_F32

IN, OUT, LABELS = 24, 16, 6
W, C, D = weight(OUT, IN), weight(LABELS, OUT, seed=1), values(LABELS)
WHICH: Final = np.array([0, 0, 1, 2, 2, 2, 1])
"""Seven tokens of sequences that have three adapters."""


def proto() -> Any:
    text = f"""
        g (float[tokens, {IN}] x, int64[sequences] starts) => (float[tokens, {LABELS}] y) {{
            [q] q = MatMul (x, w) [h] p = MatMul (q, c) y = Add (p, d)
        }}
    """
    made = model(text, {"w": W.T, "c": C.T, "d": D}, {"q": "q", "h": "head"})
    rename(made, "c", "head.weight")
    rename(made, "d", "head.bias")
    return made


def wholes() -> list[Adapter]:
    heads = {"head.weight": values(LABELS, OUT, seed=5), "head.bias": values(LABELS, seed=6)}
    first = adapter({"q": W}, alpha=50.0)
    return [first, tuned(first, 3, replacements=heads)]


ROWS: Final[list[Adapter | None]] = [None, *wholes()]


def expected(x: Array, which: Array) -> Array:
    result = []
    for token, number in zip(x.astype(np.float64), which, strict=True):
        row = ROWS[number]
        replaced = row.replacements if row else {}
        hidden = token @ (W + (delta(row, "q") if row else 0)).T
        head, bias = replaced.get("head.weight", C), replaced.get("head.bias", D)
        result.append(hidden @ head.T + bias)
    return np.stack(result)


def given(x: Array) -> dict[str, Array]:
    return {"x": x, "starts": np.array([0, 2])}


@pytest.mark.parametrize("static", [False, True])
class TestByToken:
    def test_each_token_has_the_adapter_that_is_said(self, static: bool, tmp_path: Path) -> None:
        served = serve(proto(), wholes(), tmp_path, packed=True, static=static)
        x = batch(7, IN)

        got = served.fed(served.feeds(ROWS) | {"fourier.row_adapter": WHICH}, **given(x))

        assert worst(got, expected(x, WHICH)) <= LIVE_F32
        if not static:
            assert np.array_equal(served.run(None, **given(x)), served.unchanged(**given(x)))

    def test_one_adapter_is_for_all_tokens(self, static: bool, tmp_path: Path) -> None:
        served = serve(proto(), wholes(), tmp_path, packed=True, static=static)
        x = batch(7, IN)

        got = served.fed(served.feeds([ROWS[2]]), **given(x))

        assert worst(got, expected(x, np.full(7, 2))) <= LIVE_F32

    @pytest.mark.parametrize("length", [2, 6, 8, 14])
    def test_another_number_of_tokens_is_an_error(
        self, length: int, static: bool, tmp_path: Path
    ) -> None:
        served = serve(proto(), wholes(), tmp_path, packed=True, static=static)
        which = {"fourier.row_adapter": np.zeros(length, np.int64)}

        for name, value in served.feeds(ROWS).items():
            with pytest.raises(Exception, match="row_adapter_is_as_long_as_tokens"):
                served.fed({name: value} | which, **given(batch(7, IN)))

    def test_several_rows_and_no_say_whose_is_an_error(self, static: bool, tmp_path: Path) -> None:
        served = serve(proto(), wholes(), tmp_path, packed=True, static=static)

        with pytest.raises(Exception, match="row_adapter_is_as_long_as_tokens"):
            served.fed(served.feeds(ROWS), **given(batch(7, IN)))

    def test_an_adapter_that_is_not_there_is_an_error(self, static: bool, tmp_path: Path) -> None:
        served = serve(proto(), wholes(), tmp_path, packed=True, static=static)
        which = {"fourier.row_adapter": np.array([0, 0, 1, 3, 2, 2, 1])}

        with pytest.raises(Exception, match="out of data bounds"):
            served.fed(served.feeds(ROWS) | which, **given(batch(7, IN)))


def test_the_command_has_an_option(tmp_path: Path) -> None:
    base = save_model(proto(), tmp_path / "base.onnx")
    source, output = save(wholes()[0], tmp_path), tmp_path / "live.onnx"

    converted(source, "--to", "onnx", "--live", "--packed", "--base", base, "-o", output)

    interface = read_interface(output)
    assert interface is not None
    assert interface.row_adapter
    x = batch(7, IN)
    served = Served(base, output)
    which = {"fourier.row_adapter": WHICH}
    got = served.fed(served.feeds([None, *[wholes()[0]] * 2]) | which, **given(x))
    first = expected(x, np.minimum(WHICH, 1))
    assert worst(got, first) <= LIVE_F32


def test_a_fused_attention_is_refused(tmp_path: Path) -> None:
    whole = adapter({f"{AROUND}.query": weights(None)[0]}, prints=False)

    with pytest.raises(UnsupportedError, match="a fused Attention has rows and tokens"):
        serve(attention(None), whole, tmp_path, packed=True)
