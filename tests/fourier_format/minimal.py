"""The smallest sound manifest with its tensors, to break one rule at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from fourier_format import manifest, strict_json
from fourier_format.adapter import Adapter, Array
from fourier_format.containers import safetensors
from fourier_format.document import Document

Fields = dict[str, Any]
Tensors = dict[str, Array]
Edit = Callable[[Fields, Tensors], object]

FIELDS: Fields = {
    "format": "fourier-format",
    "version": "1.0",
    "transform": "dft2",
    "alpha": 2.5,
    "entries": [{"id": "4x6", "shape": [4, 6], "count": 3}],
    "targets": [{"name": "q", "kind": "linear", "shape": [4, 6], "entries": "4x6", "row": 0}],
}


def fields() -> Fields:
    """Returns the manifest, free to change."""
    return copy.deepcopy(FIELDS)


def tensors() -> Tensors:
    """Returns its tensors, free to change."""
    return {
        "entries/4x6": np.array([[0, 1], [3, 5], [2, 0]], np.int32),
        "coefficients/4x6": np.array([[1.5, -2.0, 0.25]], np.float32),
    }


def set_in(path: str, value: Any) -> Edit:
    """Returns the edit that puts `value` at a place such as "targets.0.row"; ... removes it."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]

    def edit(whole: Fields, _: Tensors) -> None:
        place: Any = whole
        for key in parents:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)

    return edit


def document(*edits: Edit) -> Document:
    """Returns the minimal document after the edits."""
    whole, arrays = fields(), tensors()
    for edit in edits:
        edit(whole, arrays)
    return Document(strict_json.dumps(whole), arrays)


def adapter(*edits: Edit) -> Adapter:
    """Returns the minimal adapter after the edits."""
    return manifest.from_document(document(*edits), "minimal")


def fft(*edits: Edit) -> bytes:
    """Returns the minimal .fft file after the edits, under the right digest."""
    return safetensors.encode(document(*edits))
