"""Layers in one graph, live: shared ones, one behind the other, tokens in front, several banks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import model, weight
from tests.fourier_converters.onnx.live.served import (
    Row,
    Served,
    adapter,
    batch,
    elsewhere,
    opened,
    rows_of,
    serve,
    terms,
    tuned,
    worst,
)
from tests.fourier_converters.onnx.quantised import IN, W
from tests.fourier_converters.onnx.test_packed import (
    BIAS,
)
from tests.tolerances import LIVE_F32


class TestShared:
    BODY = """
        g (float[N, 24] x) => (float[N, 24] y) {
            [one] a = MatMul (x, w) r = Relu (a) [two] y = MatMul (r, w)
        }
    """

    @pytest.mark.parametrize("static", [False, True])
    def test_a_weight_that_one_module_uses_twice(self, static: bool, tmp_path: Path) -> None:
        square = weight(24, 24)
        whole = adapter({"q": square}, alpha=100.0)
        proto = model(self.BODY, {"w": square.T}, {"one": "q", "two": "q"})
        served = serve(proto, whole, tmp_path, static=static)
        rows, x = rows_of(whole), batch(5, 24)

        summed = [square + (delta(row, "q") if isinstance(row, Adapter) else 0) for row in rows]
        expected = [np.maximum(x[i] @ w.T, 0) @ w.T for i, w in enumerate(summed)]
        assert worst(served.run(rows, x=x), np.stack(expected)) <= LIVE_F32

    def test_an_adapted_layer_behind_an_adapted_layer(self, tmp_path: Path) -> None:
        """No activation between: the second multiplies the sum, not the base's product."""
        first, second = weight(16, 24), weight(8, 16, seed=1)
        text = """
            g (float[N, 24] x) => (float[N, 8] y) {
                [one] a = MatMul (x, w) [two] p = MatMul (a, v) y = Add (p, b)
            }
        """
        arrays = {"w": first.T, "v": second.T, "b": weight(1, 8, seed=2)[0]}
        whole = adapter({"one": first, "two": second}, alpha=100.0)
        served = serve(model(text, arrays, {"one": "one", "two": "two"}), whole, tmp_path)
        rows, x = rows_of(whole), batch(5, 24)

        for static in (False, True):
            served = serve(
                model(text, arrays, {"one": "one", "two": "two"}), whole, tmp_path, static=static
            )
            expected = np.zeros((5, 8))
            for number, row in enumerate(rows):
                w, v = (
                    m + (delta(row, name) if isinstance(row, Adapter) else 0)
                    for name, m in (("one", first), ("two", second))
                )
                expected[number] = x[number] @ w.T @ v.T + arrays["b"]
            assert worst(served.run(rows, x=x), expected) <= LIVE_F32

    def test_layers_that_read_one_value_share_its_transform(self, tmp_path: Path) -> None:
        """Three targets of one bank and one x: one If computes and adds all their terms."""
        import onnx

        arrays = {name: weight(24, IN, seed=i).T for i, name in enumerate("qkv")}
        text = f"""
            g (float[N, {IN}] x) => (float[N, 24] a, float[N, 24] b, float[N, 24] c) {{
                [q] a = MatMul (x, q) [k] b = MatMul (x, k) [v] c = MatMul (x, v)
            }}
        """
        whole = adapter({name: array.T for name, array in arrays.items()})

        served = serve(model(text, arrays, {n: n for n in "qkv"}), whole, tmp_path)

        kinds = [node.op_type for node in onnx.load(served.path).graph.node]
        assert kinds.count("If") == 1
        (bank,) = served.interface.banks
        assert bank.layout == (3, 5)

    @pytest.mark.parametrize("tokens", [3, 12])
    def test_of_which_a_row_may_adapt_some(self, tokens: int, tmp_path: Path) -> None:
        """One layer's term never lands in another's output, few tokens a row or many."""
        arrays = {name: weight(24, IN, seed=i).T for i, name in enumerate("qkv")}
        text = f"""
            g (float[N, T, {IN}] x) => (float[N, T, 24] a, float[N, T, 24] b, float[N, T, 24] c) {{
                [q] a = MatMul (x, q) [k] b = MatMul (x, k) [v] c = MatMul (x, v)
            }}
        """
        whole = adapter({name: array.T for name, array in arrays.items()})
        rows = (whole, adapter({"v": arrays["v"].T}), None, tuned(whole, 4))
        served = serve(model(text, arrays, {n: n for n in "qkv"}), whole, tmp_path)
        x = batch(4, tokens, IN)

        got = opened(served.path).run(None, {"x": x} | served.feeds(rows))

        for output, (name, stored) in zip(got, arrays.items(), strict=True):
            expected = x @ stored.astype(np.float64) + terms(rows, x, name, 24)
            assert worst(output, expected) <= LIVE_F32


class TestTokensFirst:
    @pytest.mark.parametrize("static", [False, True])
    @pytest.mark.parametrize("bias", [False, True])
    def test_a_layer_that_works_with_tokens_in_front(
        self, bias: bool, static: bool, tmp_path: Path
    ) -> None:
        body = "[q] p = MatMul (t, w) s = Add (p, b)" if bias else "[q] s = MatMul (t, w)"
        text = f"""
            g (float[batch, T, {IN}] x) => (float[batch, T, 24] y) {{
                t = Transpose <perm = [1, 0, 2]> (x) {body} y = Transpose <perm = [1, 0, 2]> (s)
            }}
        """
        arrays = {"w": W.T} | ({"b": BIAS[:24]} if bias else {})
        whole = adapter({"q": W})
        served = serve(model(text, arrays, {"q": "q"}), whole, tmp_path, static=static)
        rows, x = rows_of(whole), batch(5, 3, IN)

        expected = served.unchanged(x=x) + terms(rows, x, "q", 24)
        assert worst(served.run(rows, x=x), expected) <= LIVE_F32
        if not static:
            assert np.array_equal(served.run(None, x=x), served.unchanged(x=x))

    def test_an_input_with_tokens_in_front(self, tmp_path: Path) -> None:
        text = f"""
            g (float[T, batch, {IN}] x) => (float[T, batch, 24] y) {{ [q] y = MatMul (x, w) }}
        """
        whole = adapter({"q": W})
        served = serve(model(text, {"w": W.T}, {"q": "q"}), whole, tmp_path)
        rows, x = rows_of(whole), batch(3, 5, IN)

        turned = x.transpose(1, 0, 2)
        expected = served.unchanged(x=x) + terms(rows, turned, "q", 24).transpose(1, 0, 2)
        assert worst(served.run(rows, x=x), expected) <= LIVE_F32

    @pytest.mark.parametrize(
        ("given", "body"),
        [
            ("float[tokens, 40] x, float[batch, 3] o", "[q] y = MatMul (x, w)"),
            ("float[40, batch] x", "t = Transpose (x) u = Transpose (t) [q] y = MatMul (w2, u)"),
        ],
        ids=["ragged", "features first"],
    )
    def test_rows_that_nothing_tells_are_refused(
        self, given: str, body: str, tmp_path: Path
    ) -> None:
        text = f"g ({given}) => (float[M, K] y) {{ {body} }}"
        arrays = {"w": W.T} if "w2" not in body else {"w2": W}
        whole = adapter({"q": W}, prints="w2" not in body)
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- its class is asked below
            serve(model(text, arrays, {"q": "q"}), whole, tmp_path)

        assert not (tmp_path / "live.onnx").exists()
        if "w2" not in body:
            assert isinstance(caught.value, UnsupportedError)
            assert "nothing shows which row of the batch" in str(caught.value)


class TestBanks:
    TEXT = f"""
        g (float[N, {IN}] x) => (float[N, 24] y, float[N, 16] z) {{
            [q] y = MatMul (x, w) [k] z = MatMul (x, v)
        }}
    """
    V = weight(16, IN, seed=5)

    def proto(self) -> Any:
        return model(self.TEXT, {"w": W.T, "v": self.V.T}, {"q": "q", "k": "k"})

    def outputs(self, served: Served, rows: Sequence[Row] | None, x: Array) -> list[Array]:
        given = {} if rows is None else served.feeds(rows)
        found: list[Array] = opened(served.path).run(None, {"x": x} | given)
        return found

    @pytest.mark.parametrize("static", [False, True])
    def test_adapters_of_other_entries_and_targets_share_a_graph(
        self, static: bool, tmp_path: Path
    ) -> None:
        """Both targets, one target only, other entries: each row is right, mixed in one batch."""
        both = adapter({"q": W, "k": self.V})
        only = tuned(adapter({"k": self.V}), 21)
        other = elsewhere(both)
        served = serve(self.proto(), [both, only, other], tmp_path, static=static)
        rows: list[Row] = [other, None, both, only, tuned(other, 5)]
        x = batch(5, IN)

        y, z = self.outputs(served, rows, x)

        assert worst(y, x @ W.T.astype(np.float64) + terms(rows, x, "q", 24)) <= LIVE_F32
        assert worst(z, x @ self.V.T.astype(np.float64) + terms(rows, x, "k", 16)) <= LIVE_F32
        names = [bank.input for bank in served.interface.banks]
        assert len(set(names)) == 4
        assert (
            sorted(name.partition("-")[0] for name in names)
            == ["fourier.0"] * 2 + ["fourier.1"] * 2
        )

    def test_a_blend_of_adapters_of_one_bank_is_a_blend_of_values(self, tmp_path: Path) -> None:
        both = adapter({"q": W, "k": self.V})
        other = tuned(both, 9)
        served = serve(self.proto(), both, tmp_path)
        x = batch(2, IN)
        parts = [served.values(row) for row in (both, other)]
        mix = {name: 0.7 * parts[0][name] - 0.3 * parts[1][name] for name in parts[0]}

        y, _ = self.outputs(served, [mix, None], x)

        change = 0.7 * delta(both, "q") - 0.3 * delta(other, "q")
        expected = x @ W.T.astype(np.float64)
        expected[0] += x[0] @ change.T
        assert worst(y, expected) <= LIVE_F32


def test_a_bank_is_called_by_its_entries_targets_and_base(tmp_path: Path) -> None:
    """So that what was made for one graph is refused by another, in which it would be wrong."""
    first = adapter({"q": W})

    def name(of: Adapter, weights: Array = W) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        text = f"g (float[batch, {IN}] x) => (float[batch, {len(W)}] y) {{ [q] y = MatMul (x, w) }}"
        graph = model(text, {"w": weights.T}, {"q": "q"})
        (bank,) = serve(graph, of, folder).interface.banks
        return bank.input

    names = [
        name(first),
        name(tuned(first, 3)),
        name(elsewhere(first)),
        name(adapter({"q": 2 * W}), 2 * W),
    ]

    assert names[0] == names[1]
    assert len(set(names)) == 3
