"""What no live graph serves is refused, with the reason, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.live import to_live
from fourier_format import Adapter, errors
from fourier_format.errors import (
    BaseMismatchError,
    UnsupportedError,
    UsageError,
)
from fourier_format.fingerprint import fingerprint
from tests.fourier_converters import adapters
from tests.fourier_converters.adapters import without_prints
from tests.fourier_converters.graphs import model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.live.served import (
    adapter,
    elsewhere,
    serve,
    tuned,
)

IN, OUT = 32, 48
NAMES: Final = ("one", "two")
W, V = weight(OUT, IN), weight(OUT, IN, seed=1)
TEXT: Final = f"""
    g (float[N, {IN}] x) => (float[N, {OUT}] y, float[N, {OUT}] z) {{
        [one] y = MatMul (x, w)
        [two] z = Gemm <transB = 1> (x, v)
    }}
"""
A: Final = adapter({"one": W, "two": V})
B: Final = tuned(A, 5)
OTHER: Final = elsewhere(A)
_LOOKED_UP: Final = "x = Gather (table, ids) [one] y = MatMul (x, w)"
PACKED_TOKENS: Final = [
    pytest.param(
        "int64[total] ids", _LOOKED_UP, "no input has two axes, of which", id="no batch at all"
    ),
    pytest.param(
        "int64[total] ids, float[batch, 3] past",
        _LOOKED_UP,
        "input 'ids' does not say how rows lie in it",
        id="a batch elsewhere",
    ),
    pytest.param(
        f"float[total, {IN}] x",
        "[one] q = MatMul (x, w) k = Transpose (q) s = MatMul (q, k) y = Softmax (s)",
        "axis 0 of 'x' is not named 'batch', and need not be it",
        id="attention over all",
    ),
]


def proto() -> Any:
    return model(TEXT, {"w": W.T, "v": V}, {"one": "one", "two": "two"})


class TestRefused:
    def refuse(
        self, wholes: list[Adapter], proto: Any, folder: Path, error: type[Exception]
    ) -> list[str]:
        base, output = save_model(proto, folder / "base.onnx"), folder / "live.onnx"
        with pytest.raises(error) as caught:
            to_live(wholes, base, output)
        assert not output.exists()
        assert isinstance(caught.value, errors.FourierFormatError)
        return [str(violation) for violation in caught.value.violations]

    def test_no_adapter(self, tmp_path: Path) -> None:
        (line,) = self.refuse([], proto(), tmp_path, UsageError)

        assert line.endswith("[E-USAGE]")

    def test_a_wavelet_transform(self, tmp_path: Path) -> None:
        wave = adapters.adapter({"one": W}, transform="dwt2:db1")

        (line,) = self.refuse([wave], proto(), tmp_path, UnsupportedError)

        assert "computes Fourier transforms, not dwt2:db1" in line
        assert line.endswith("[E-CONVERSION-UNSUPPORTED]")

    def test_a_wavelet_transform_beside_others(self, tmp_path: Path) -> None:
        wave = adapters.adapter({"one": W}, transform="dwt2:db1")

        self.refuse([A, wave], proto(), tmp_path, UnsupportedError)

    def test_a_convolution(self, tmp_path: Path) -> None:
        kernel = weight(8, 3 * 4, seed=2)
        text = """
            g (float[N, 3, 6, 6] x) => (float[N, 8, 5, 5] y) { [one] y = Conv (x, w) }
        """
        made = model(text, {"w": kernel.reshape(8, 3, 2, 2)}, {"one": "one"})
        whole = adapters.adapter({"one": kernel}, kind="conv2d")

        (line,) = self.refuse([whole], made, tmp_path, UnsupportedError)

        assert "a live graph adapts linear layers, and no conv2d" in line

    def test_an_embedding(self, tmp_path: Path) -> None:
        table = weight(8, 11, seed=2)  # (dim, vocabulary)
        text = "g (int64[N, T] x) => (float[N, T, 8] y) { [one] y = Gather (w, x) }"
        made = model(text, {"w": table.T}, {"one": "one"})
        whole = adapters.adapter({"one": table}, kind="embedding")

        (line,) = self.refuse([whole], made, tmp_path, UnsupportedError)

        assert "a live graph adapts linear layers, and no embedding" in line

    @pytest.mark.parametrize(("given", "body", "why"), PACKED_TOKENS)
    def test_tokens_of_several_sequences_in_one_axis(
        self, given: str, body: str, why: str, tmp_path: Path
    ) -> None:
        text = f"g ({given}, int64[sequences] starts) => (float[M, K] y) {{ {body} }}"
        made = model(text, {"w": W.T, "table": weight(11, IN, seed=3)}, {"one": "one"})

        (line,) = self.refuse([adapter({"one": W})], made, tmp_path, UnsupportedError)

        assert f"nothing shows which row of the batch its tokens belong to: {why}" in line
        assert "merge this adapter (without --live)" in line
        assert line.endswith("[E-CONVERSION-UNSUPPORTED]")

    @pytest.mark.parametrize("static", [False, True])
    def test_a_graph_that_is_live_already(self, static: bool, tmp_path: Path) -> None:
        live = serve(proto(), A, tmp_path, static=static).path

        with pytest.raises(UnsupportedError, match="it is live already") as caught:
            to_live([A], live, tmp_path / "again.onnx")

        assert caught.value.violations[0].code == "E-BASE-UNSUPPORTED"
        assert not (tmp_path / "again.onnx").exists()

    def test_merging_into_a_live_graph(self, tmp_path: Path) -> None:
        """Its description would go on saying that it holds the base."""
        base, live = save_model(proto(), tmp_path / "base.onnx"), tmp_path / "live.onnx"
        to_live([A], base, live)

        with pytest.raises(UnsupportedError, match="merge into the model that it was made of"):
            to_onnx(A, live, tmp_path / "merged.onnx")

        assert not (tmp_path / "merged.onnx").exists()

    def test_a_graph_that_is_live_for_others_already(self, tmp_path: Path) -> None:
        """No input of the same name, and yet two descriptions would be one too many."""
        live = serve(proto(), adapter({"two": V}, count=3), tmp_path).path
        renamed = adapters.replaced(A.entry_sets[0], id="q")
        whole = adapters.replaced(
            A,
            entry_sets=(renamed,),
            targets=(adapters.replaced(A.targets[0], entries="q"),),
        )

        with pytest.raises(UnsupportedError, match="it is live already"):
            to_live([whole], live, tmp_path / "again.onnx")

    @pytest.mark.parametrize("which", [0, 1])
    def test_the_wrong_base(self, which: int, tmp_path: Path) -> None:
        """Whichever of the adapters it is not the base of."""
        stranger = adapter({"one": W + 1, "two": V})
        wholes = [stranger, A] if which == 0 else [A, stranger]

        (line,) = self.refuse(wholes, proto(), tmp_path, BaseMismatchError)

        assert line.startswith("one: ")
        assert line.endswith("[E-BASE-MISMATCH]")

    def test_a_base_of_another_norm(self, tmp_path: Path) -> None:
        """The samples are the same, the rest is not."""
        whole = adapter({"one": W, "two": V})
        for row, column in np.ndindex(W.shape):
            other = W.copy()
            other[row, column] += 100
            if np.array_equal(fingerprint(other, "").samples, fingerprint(W, "").samples):
                break
        made = model(TEXT, {"w": other.T, "v": V}, {"one": "one", "two": "two"})

        (line,) = self.refuse([whole], made, tmp_path, BaseMismatchError)

        assert line.startswith("one: ")
        assert "norm" in line

    def test_a_target_that_the_graph_lacks(self, tmp_path: Path) -> None:
        whole = without_prints({"three": weight(OUT, IN, seed=9)})

        (line,) = self.refuse([whole], proto(), tmp_path, errors.TargetNotFoundError)

        assert line.startswith("three: ")

    def test_rows_that_a_graph_mixes(self, tmp_path: Path) -> None:
        """Attention along the first axis: that is no batch."""
        text = f"""
            g (float[N, T, {IN}] x) => (float[N, T, {OUT}] y) {{
                t = Transpose <perm = [1, 2, 0]> (x) u = Transpose <perm = [1, 0, 2]> (x)
                s = MatMul (u, t) a = Softmax <axis = -1> (s) m = MatMul (a, u)
                v = Transpose <perm = [1, 0, 2]> (m) [one] y = MatMul (v, w)
            }}
        """
        made = model(text, {"w": W.T}, {"one": "one"})

        (line,) = self.refuse([adapter({"one": W})], made, tmp_path, UnsupportedError)

        assert "nothing shows which row of the batch its tokens belong to" in line
        assert "merge this adapter (without --live)" in line
