"""An attack: a hostile base in a folder of its own, a secret beside it, and every way to use it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from fourier_converters.cli import main
from fourier_converters.mapping import Map
from fourier_converters.onnx.base import OnnxBase
from fourier_converters.onnx.live import live_at_load
from fourier_converters.onnx.loading import merge_at_load
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import FourierFormatError
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.command import Captured, converted
from tests.fourier_converters.graphs import model, save_external, weight
from tests.fourier_converters.graphs import save as save_model

W = weight(48, 32)
WHOLE = adapter({"q": W})
SECRET = b"THE SECRET OF ANOTHER " * 2000

LINEAR = """
    g (float[N, 32] x) => (float[N, 48] y) {
        [node_MatMul] y = MatMul (x, w)
    }
"""
PROGRAM = "fourier-convert: error: "


def linear(arrays: dict[str, Array] | None = None, text: str = LINEAR) -> Any:
    """Returns a ModelProto with the weight of the target `q`, and what else is given."""
    return model(text, {"w": W.T} | (arrays or {}), {"node_MatMul": "q"})


def contents(folder: Path) -> dict[str, str]:
    """Returns what lies in a folder by name: a file's SHA-256 and size, a link's goal, a kind."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


class Attack:
    """A base that somebody sent, in `folder`; what nobody may read or write lies around it."""

    def __init__(self, around: Path, capsys: Captured) -> None:
        self.around = around
        self.capsys = capsys
        self.folder = around / "base"
        self.folder.mkdir()
        self.outputs = around / "out"
        self.outputs.mkdir()
        self.base = self.folder / "base.onnx"
        self.data = self.folder / "base.onnx.data"
        self.output = self.outputs / "m.onnx"
        (around / "secret.data").write_bytes(SECRET)
        self.source = save(WHOLE, around)

    def inline(self, proto: Any) -> None:
        """Write the base with its weights inside."""
        save_model(proto, self.base)

    def external(self, proto: Any | None = None) -> None:
        """Write the base with its weights in external data."""
        save_external(linear() if proto is None else proto, self.base)

    def arguments(self, *more: str | Path) -> list[str | Path]:
        return [self.source, "--to", "onnx", "--base", self.base, "-o", self.output, *more]

    def relocate(self, location: str) -> None:
        """Say that the weight lies elsewhere."""
        made = onnx.load(self.base, load_external_data=False)
        for entry in made.graph.initializer[0].external_data:
            entry.value = location if entry.key == "location" else entry.value
        save_model(made, self.base)

    def refuse(self, *more: str | Path, exit_code: int | None = None) -> str:
        """Returns the first line of the error with which every use of the base is refused."""
        error = self.convert(*more)
        assert error is not None, "merged"
        if exit_code is not None:
            assert self.code == exit_code, error
        self._refuse_elsewhere()
        return error

    def refuse_merges(self, *more: str | Path) -> str:
        """The same for every merge; whoever only reads the weight does not meet the rest."""
        error = self.convert(*more)
        assert error is not None, "merged"
        with pytest.raises(FourierFormatError):
            merge_at_load(WHOLE, self.base)
        return error

    def bear(self, *more: str | Path) -> str | None:
        """Returns the error of the merge, None if it went well; either is no harm."""
        error = self.convert(*more)
        self.convert(*more, "--quantized", "requantize", "--dry-run")
        self.convert(*more, "--live")
        for use in self._other_uses():
            with contextlib.suppress(FourierFormatError):
                use()
        return error

    def convert(self, *more: str | Path) -> str | None:
        """Merge into the base; an error is ours, in lines, and leaves everything as it was."""
        self.capsys.readouterr()
        before = contents(self.around)
        arguments = self.arguments(*more)
        self.code = main([*map(str, arguments), "--quiet"])
        out, err = self.capsys.readouterr()
        assert not out
        self.refuse_leaks()
        made = sorted(self.outputs.iterdir())
        if self.code == 0:
            for path in made:
                path.unlink()
        assert contents(self.around) == before
        if self.code == 0:
            return None
        lines = err.splitlines()
        assert self.code in {1, 2}, err
        assert lines, err
        assert all(line.startswith(PROGRAM) and line.isprintable() for line in lines), err
        assert all(len(line) < 2000 for line in lines), err
        return str(lines[0].removeprefix(PROGRAM))

    def keep(self, *more: str | Path) -> None:
        """Merge, which must go well, and leave the result."""
        before = contents(self.folder)
        converted(*self.arguments(*more))
        after = contents(self.folder)
        assert before.items() <= after.items()

    def refuse_leaks(self) -> None:
        """Check that nothing of the secret is in any output."""
        for path in self.outputs.rglob("*"):
            assert b"SECRET" not in path.read_bytes()

    def _refuse_elsewhere(self) -> None:
        """Check that the other ways to use the base refuse it too, and write nothing."""
        before = contents(self.around)
        for use in self._other_uses():
            with pytest.raises(FourierFormatError):
                use()
        assert contents(self.around) == before

    def _other_uses(self) -> Sequence[Callable[[], object]]:
        whole: Adapter = WHOLE
        return (
            lambda: merge_at_load(whole, self.base),
            lambda: live_at_load([whole], self.base),
            lambda: OnnxBase(self.base, Map(), ["q"]).weight("q"),
        )


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {path.readlink()}"
    if path.is_file():
        data = path.read_bytes() if path.stat().st_size < 2**24 else b""
        return f"{path.stat().st_size} {hashlib.sha256(data).hexdigest()}"
    return "a directory" if path.is_dir() else "special"
