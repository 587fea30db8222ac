"""What ONNX Runtime raises, as the errors of this project."""

from __future__ import annotations

import contextlib
import re
<<<<<<< HEAD
from collections.abc import Callable, Iterator
from typing import Final
=======
from collections.abc import Iterator, Sequence
from typing import Any, Final
>>>>>>> main

from fourier_format.errors import FourierFormatError, ServingError, UsageError, Violation, one_line
from fourier_format.words import shortened

_MEMORY: Final = re.compile(
    r"out of memory|failed to allocate|allocation.{0,20}fail|bad_alloc|bfc_?arena"
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_PROVIDER: Final = re.compile(
    r"error loading.{0,200}providers_|cannot load.{0,200}provider|CUDA failure 35"
    r"|no CUDA-capable device|CUDA driver version is insufficient",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST: Final = 600
TRIES: Final = 100
"""How often a graph may be made anew, or a name go, under one call's hands."""


class StaleError(Exception):
    """The graph was made anew between the look at it and the gathering; look again."""


def restless(where: str) -> ServingError:
    """Returns the error where the graph was made anew at every look at it."""
    advice = "load one adapter of each sort before runs begin"
    return _failed("E-RUN-FAILED", where, "the graph is made anew all the time", None, advice)


@contextlib.contextmanager
def serving_errors(where: str, expected: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turns what ONNX Runtime raises inside the block into a ServingError that names `where`.

    Args:
        where: What failed.
        expected: Says what would have been right, where ONNX Runtime refused without saying that.
    """
    try:
        yield
    except (FourierFormatError, StaleError):
        raise
    except Exception as error:
        raise serving_error(where, error, expected) from error


def serving_error(
    where: str, error: BaseException, expected: Callable[[], str | None] = lambda: None
) -> ServingError:
    """Returns the error for `error`: of a device's memory, of a provider, or of the run."""
    text = str(error)
    got = shortened(one_line(text), _LONGEST)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        advice = "use smaller batches, fewer adapters on the device, or a larger device"
        return _failed("E-DEVICE-MEMORY", where, "the device has no memory left", got, advice)
    if _PROVIDER.search(text):
        advice = "install what the execution provider needs, or choose another one"
        problem = "the execution provider does not work here"
        return _failed("E-PROVIDER-MISSING", where, problem, got, advice)
    return ServingError(Violation("E-RUN-FAILED", where, "ONNX Runtime refused", got, expected()))


def _failed(code: str, where: str, problem: str, got: str, advice: str) -> ServingError:
    return ServingError(Violation(code, where, problem, got, advice=advice))


def refuse_unknown(option: str, value: object, choices: Sequence[str]) -> None:
    """Check an option that has a few values.

    Raises:
        UsageError: E-USAGE: it is none of them.
    """
    if value not in choices:
        expected = f"one of {', '.join(choices)}"
        raise UsageError(Violation("E-USAGE", option, "no such choice", repr(value), expected))
