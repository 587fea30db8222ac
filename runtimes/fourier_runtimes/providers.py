"""Which execution providers a session gets: those that were asked for, or a word about it."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fourier_converters.ort import require_onnxruntime
from fourier_format.errors import ServingError, Violation
from fourier_runtimes.failures import serving_errors

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

_ATTRIBUTES: Final = (
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "enable_mem_reuse",
    "execution_mode",
    "execution_order",
    "graph_optimization_level",
    "inter_op_num_threads",
    "intra_op_num_threads",
    "log_severity_level",
    "log_verbosity_level",
    "use_deterministic_compute",
)

_LENDING: Final = threading.Lock()
"""Held while options that others may share hold an entry of ours."""

Provider: TypeAlias = str | tuple[str, Mapping[str, Any]]
"""As ONNX Runtime takes it: a name, or a name with options."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where the first provider computes.

    Attributes:
        type: ONNX Runtime's name of it, "cpu" or "cuda".
        id: Which of them.
        graphs: Whether CUDA graphs are to be captured.
    """

    type: str = "cpu"
    id: int = 0
    graphs: bool = False


def onnxruntime() -> Any:
    """Returns the module, of whichever package brings it.

    Raises:
        DependencyMissingError: It is not installed.
    """
    return require_onnxruntime("serving")


def chosen(providers: Sequence[Provider] | None, *, strict: bool) -> list[Provider]:
    """Returns the providers that this installation has, the CPU's last; None is the CPU's alone.

    A provider that is absent is warned of once a call, and left out.

    Raises:
        ServingError: E-PROVIDER-MISSING: `strict`, and one is absent.
    """
    wanted = [CPU] if providers is None else list(providers)
    available = set(onnxruntime().get_available_providers())
    absent = [name_of(p) for p in wanted if name_of(p) not in available]
    if absent:
        _refuse(absent, strict, "this installation of ONNX Runtime does not have it")
    found = [p for p in wanted if name_of(p) not in absent]
    if CPU not in map(name_of, found):
        found.append(CPU)
    return found


def name_of(provider: Provider) -> str:
    """Returns the provider's name."""
    return provider if isinstance(provider, str) else provider[0]


def device_of(providers: Sequence[Provider]) -> Device:
    """Returns the device of the first provider."""
    first = providers[0]
    if name_of(first) != CUDA:
        return Device()
    options = {} if isinstance(first, str) else first[1]
    graphs = str(options.get("enable_cuda_graph", "0")).lower() in {"1", "true"}
    return Device("cuda", int(options.get("device_id", 0)), graphs)


def without_graphs(providers: Sequence[Provider]) -> list[Provider]:
    """Returns the providers for sessions whose shapes and addresses change: no CUDA graphs."""
    return [
        p if isinstance(p, str) else (p[0], {k: v for k, v in p[1].items() if "graph" not in k})
        for p in providers
    ]


def opened(
    model: bytes | str, options: Any, providers: Sequence[Provider], where: str, *, strict: bool
) -> Any:
    """Returns an InferenceSession of `model` that has the providers, and never falls back.

    Raises:
        ServingError: ONNX Runtime refused, or (`strict`) a provider does not work here.
    """
    options = quiet_options() if options is None else options
    with serving_errors(where):
        session = onnxruntime().InferenceSession(
            model, options, providers=_plain(providers), enable_fallback=0
        )
        session.disable_fallback()
    has = set(session.get_providers())
    absent = [name_of(p) for p in providers if name_of(p) not in has]
    if absent:
        _refuse(absent, strict, "it does not work on this machine")
    return session


def quiet_options() -> Any:
    """Returns session options without warnings: there is one for each default that can be fed."""
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 3
    return options


def options_like(options: Any) -> Any:
    """Returns new session options with the attributes of `options`; it tells no config entries."""
    copied = quiet_options()
    for name in _ATTRIBUTES:
        setattr(copied, name, getattr(options, name))
    return copied


def entry_of(options: Any, key: str) -> str | None:
    """Returns a config entry of session options, None where it was not set."""
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:
        return None


@contextlib.contextmanager
def lent(options: Any, entries: Mapping[str, str]) -> Iterator[None]:
    """Sets config entries of session options for the block, and sets them back after it.

    Entries cannot be removed: one that was not set is empty afterwards, which is as good.
    """
    if not entries:
        yield
        return
    with _LENDING:
        before = {key: entry_of(options, key) for key in entries}
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        try:
            yield
        finally:
            for key, old in before.items():
                options.add_session_config_entry(key, old or "")


def _plain(providers: Sequence[Provider]) -> list[Any]:
    return [p if isinstance(p, str) else (p[0], dict(p[1])) for p in providers]


def _refuse(absent: Sequence[str], strict: bool, reason: str) -> None:
    names = ", ".join(absent)
    if strict:
        advice = "install the package of ONNX Runtime that has it, or leave `strict` out"
        raise ServingError(
            Violation("E-PROVIDER-MISSING", names, f"cannot be used: {reason}", advice=advice)
        )
    message = f"{names} cannot be used: {reason}; the session runs on the CPU without it"
    warnings.warn(message, stacklevel=4)
