"""ONNX Runtime, which only some tasks need: its absence is an error that names the extra."""

from __future__ import annotations

from typing import Any

from fourier_format.errors import dependency_missing


def require_onnxruntime(purpose: str) -> Any:
    """Returns the module, of whichever package brings it; `purpose` is what needs it, in words.

    Raises:
        DependencyMissingError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise dependency_missing("onnxruntime", "ort", purpose) from None
    return onnxruntime
