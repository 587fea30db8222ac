"""A base that ONNX Runtime optimised once, kept in a cache with its weights in a file beside it.

Opened with no optimisation left to do, it takes a third of the time, and its weights are mapped, so
that all sessions and processes share them. They are kept a second time in the form that
kernels want (prepacked), which sessions share in the same way where they would make the same of
them; where not, on another processor, they make and hold their own.

Of one base one copy is kept for each list of providers. Whoever makes one removes those of the same
base as it no longer is, or for another ONNX Runtime, but for what someone has open: that is locked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_converters.directories import staged_directory
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors
from fourier_format.atomic import lock, lockable, os_errors, share
from fourier_format.errors import FourierFormatError, OutputExistsError

MODEL: Final = "base.onnx"
DATA: Final = "base.onnx.data"
_FORM: Final = 2
"""Counts up when what is kept changes."""
_TRIES: Final = 3
_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv"})


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Opening:
    """A base as it is opened; what is kept of it is not removed as long as this is there.

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
    reoptimised = _is_convolutional(model)
    problem = f"{folder} is not whole, or others remove it"
    for _ in range(_TRIES):  # others may remove what was made before it is held
        kept = _kept(folder, reoptimised=reoptimised)
        if kept is not None:
            return kept
        with os_errors(cache, "write"):
            cache.mkdir(parents=True, exist_ok=True)
            _remove_former(cache, folder.name)
        try:
            with contextlib.suppress(OutputExistsError):  # another process was first
                _optimise(base, providers, folder)
        except FourierFormatError:
            raise
        except Exception as error:  # noqa: BLE001 -- ONNX Runtime raises classes of its own
            problem = str(error).splitlines()[0][:200]
            break
    return Opening(base, reoptimised=True, note=f"the base is not kept optimised: {problem}")


def key_of(model: Model, providers: Sequence[Any]) -> str:
    """Returns the name under which a base is kept: "<which base>-<in which state>-<for whom>".

    The state is that of its files and ONNX Runtime's version. A file counts by its path and by what
    its folder says of it; the .onnx by what it holds, too.
    """
    import onnxruntime

    files = model.reader.files
    locations = files.locations(all_tensors(model.proto))
    digest = hashlib.sha256(repr((_FORM, onnxruntime.__version__)).encode())
    graph = Path(os.path.realpath(model.path))
    for path in (graph, *map(files.path, locations)):
        with os_errors(path, "read"):
            digest.update(repr((str(path), _facts(path))).encode())
    with os_errors(graph, "read"), graph.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{_short(str(graph))}-{digest.hexdigest()[:32]}-{_short(repr(list(providers)))}"


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _facts(path: Path) -> tuple[int, ...]:
    """Returns what changes with a file: its time of change can be set back, the others hardly."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def _kept(folder: Path, *, reoptimised: bool) -> Opening | None:
    """Returns what is kept in `folder`, held; None where there is nothing, or no more."""
    with os_errors(folder, "read"), contextlib.suppress(FileNotFoundError):
        descriptor = lockable(folder)
        opening = Opening(folder / MODEL, reoptimised)
        if descriptor is not None:
            weakref.finalize(opening, os.close, descriptor)
            share(descriptor)
        is_held = descriptor is None or os.path.samestat(os.fstat(descriptor), folder.stat())
        return opening if is_held and opening.path.is_file() else None
    return None


def _remove_former(cache: Path, key: str) -> None:
    """Remove what is kept of the same base in other states, or not whole, unless someone holds it.

    So goes what killed runs left, in the making or half removed.
    """
    which, state, _ = key.split("-")
    for folder in [*cache.glob(f"{which}-*"), *cache.glob(f".{which}-*.partial")]:
        if folder.name.startswith(f"{which}-{state}-") and (folder / MODEL).is_file():
            continue
        with contextlib.suppress(OSError):  # another run may be at it
            _remove(folder, cache / f"{which}-removed-{secrets.token_hex(6)}")


def _remove(folder: Path, gone: Path) -> None:
    """Remove a folder that nobody holds, by way of another name: it is whole or not there."""
    descriptor = lockable(folder)
    if descriptor is None:
        return
    try:
        if lock(descriptor) and os.path.samestat(os.fstat(descriptor), folder.stat()):
            folder.rename(gone)
            shutil.rmtree(gone)
    finally:
        os.close(descriptor)


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
