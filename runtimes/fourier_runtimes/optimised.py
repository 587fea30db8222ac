"""A base that ONNX Runtime optimised once, kept in a cache with its weights in a file beside it.

Opened with no optimisation left to do, it takes a third of the time, and its weights are mapped, so
that all sessions and processes share them. They are kept a second time in the form that
kernels want (prepacked), which sessions share in the same way where they would make the same of
them; where not, on another processor, they make and hold their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_converters.directories import staged_directory
from fourier_converters.onnx.external import is_external
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors
from fourier_format.atomic import os_errors
from fourier_format.errors import FourierFormatError, OutputExistsError

MODEL: Final = "base.onnx"
DATA: Final = "base.onnx.data"
_FORM: Final = 2
"""Counts up when what is kept changes."""
_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv"})


@dataclass(frozen=True, slots=True)
class Opening:
    """A base as it is opened.

    Attributes:
        path: The .onnx file.
        reoptimised: Whether ONNX Runtime is to optimise the graph when it opens it.
        note: What the user should know; None for nothing.
    """

    path: Path
    reoptimised: bool
    note: str | None = None


def optimised(base: Path, providers: Sequence[Any], cache: Path) -> Opening:
    """Returns `base` as ONNX Runtime optimised it, now or in an earlier run; any process's.

    Nobody's session options have a part in it, since sessions with others are opened from it.

    Args:
        base: The .onnx file.
        providers: Execution providers, as InferenceSession takes them.
        cache: The folder in which optimised bases are kept; it may not exist yet.

    Returns:
        The optimised base; `base` itself with a note where ONNX Runtime cannot save what it makes.

    Raises:
        UnsupportedError: The base is of a sort that is not supported.
        FileAccessError: The base cannot be read, or the cache cannot be written.
    """
    model = Model(base)
    folder = cache / key_of(model, providers)
    if not (folder / MODEL).is_file():
        with os_errors(cache, "write"):
            cache.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.suppress(OutputExistsError):  # another process was first
                _optimise(base, providers, folder)
        except FourierFormatError:
            raise
        except Exception as error:  # noqa: BLE001 -- ONNX Runtime raises classes of its own
            problem = str(error).splitlines()[0][:200]
            return Opening(
                base, reoptimised=True, note=f"the base is not kept optimised: {problem}"
            )
    return Opening(folder / MODEL, reoptimised=_is_convolutional(model))


def key_of(model: Model, providers: Sequence[Any]) -> str:
    """Returns the name under which a base is kept: of its files as they are, and of what reads it.

    A file counts by its path and by what its folder says of it; the .onnx by what it holds, too.
    """
    import onnxruntime

    files = model.reader.files
    tensors = [tensor for tensor in all_tensors(model.proto) if is_external(tensor)]
    locations = sorted({files.place(tensor).location for tensor in tensors})
    digest = hashlib.sha256(repr((_FORM, onnxruntime.__version__, list(providers))).encode())
    graph = Path(os.path.realpath(model.path))
    for path in (graph, *map(files.path, locations)):
        with os_errors(path, "read"):
            digest.update(repr((str(path), _facts(path))).encode())
    with os_errors(graph, "read"), graph.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _facts(path: Path) -> tuple[int, ...]:
    """Returns what changes with a file: its time of change can be set back, the others hardly."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def _optimise(base: Path, providers: Sequence[Any], folder: Path) -> None:
    """Have ONNX Runtime write the optimised base to `folder`, whole or not at all."""
    import onnxruntime

    with staged_directory(folder, (MODEL, DATA)) as partial:
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # what is above is a processor's
        )
        settings.optimized_model_filepath = str(partial / MODEL)
        for key, value in {
            "optimized_model_external_initializers_file_name": DATA,
            "save_external_prepacked_constant_initializers": "1",
        }.items():
            settings.add_session_config_entry(f"session.{key}", value)
        settings.log_severity_level = 3  # it warns of saving
        onnxruntime.InferenceSession(str(base), settings, providers=list(providers))


def _is_convolutional(model: Model) -> bool:
    """Whether there is a convolution, for which ONNX Runtime changes layouts when it opens it."""
    return any(node.op_type in _CONVOLUTIONS for _, _, node in model.nodes())
