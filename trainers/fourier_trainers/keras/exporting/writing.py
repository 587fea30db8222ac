"""Writes an assembled model, and commits it once it was checked."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fourier_format.atomic import companion, os_errors, staged
from fourier_format.errors import UsageError, Violation
from fourier_trainers.keras.exporting.assembling import Assembled, initializer

_LARGEST: Final = 2**31 - 2**24
"""Bytes of weights that still fit into one protobuf message, with room for the graph."""

_ALIGNMENT: Final = 4096
"""Where each weight starts in a data file, so that it can be mapped into memory."""


def write_checked(
    model: Assembled,
    path: Path,
    check: Callable[[Path], float],
    *,
    external: bool | None,
    overwrite: bool,
) -> float:
    """Write a model beside its place, check it there, and move it to `path` if it is good.

    Args:
        model: What to write.
        path: The .onnx file.
        check: Is given the written file, and raises where it is not good.
        external: Whether the weights lie in a data file beside it; None where they have to.
        overwrite: Whether `path` may exist.

    Returns:
        What `check` returned.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        FileAccessError: Writing failed; nothing is left behind.
        UsageError: E-USAGE: the weights were to lie in the .onnx file, which cannot hold them.
    """
    size = sum(4 * math.prod(variable.shape) for variable in model.weights.values())
    if external is False and size > _LARGEST:
        problem = f"an .onnx file cannot hold {size} bytes of weights"
        advice = "leave external_data out, or set it to True"
        raise UsageError(Violation("E-USAGE", str(path), problem, advice=advice))
    replaced = _data_of(path) if overwrite else []
    with contextlib.ExitStack() as undo, os_errors(path, "write"):
        with staged(path, overwrite) as file:
            if external or size > _LARGEST:
                data = companion(path, file, "0.data")
                undo.callback(data.unlink, missing_ok=True)
                _write_data(model, data)
            else:
                _fill(model)
            file.write(model.proto.SerializeToString())
            file.flush()
            worst = check(Path(file.name))
        undo.pop_all()
    for old in replaced:
        old.unlink(missing_ok=True)
    return worst


def _fill(model: Assembled) -> None:
    """Puts the weights into the proto itself."""
    for name, variable in model.weights.items():
        head, array = initializer(name, variable)
        head.raw_data = array.tobytes()
        model.proto.graph.initializer.append(head)


def _write_data(model: Assembled, path: Path) -> None:
    """Writes the weights to a data file, one at a time, and refers to them."""
    with path.open("xb") as file:
        for name, variable in model.weights.items():
            head, array = initializer(name, variable)
            offset = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
            file.seek(offset)
            file.write(array.data if array.ndim else array.tobytes())
            head.data_location = head.EXTERNAL
            entries = {"location": path.name, "offset": offset, "length": array.nbytes}
            for key, value in entries.items():
                head.external_data.add(key=key, value=str(value))
            model.proto.graph.initializer.append(head)
        file.flush()
        os.fsync(file.fileno())


def _data_of(path: Path) -> list[Path]:
    """Returns the data files beside a model of this name that belong to it and are ours."""
    import onnx

    if not path.is_file():
        return []
    pattern = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{12}}\.[0-9]+\.data")
    try:
        proto: Any = onnx.load(path, load_external_data=False)
    except Exception:  # noqa: BLE001 -- what is replaced need not be a model
        return []
    entries = (entry for t in proto.graph.initializer for entry in t.external_data)
    named = {entry.value for entry in entries if entry.key == "location"}
    return [path.with_name(name) for name in sorted(named) if pattern.fullmatch(name)]
