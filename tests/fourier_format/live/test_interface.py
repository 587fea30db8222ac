"""What a live graph says of itself is refused where it is broken, whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fourier_format.errors import InvalidAdapterError
from fourier_format.live import from_text, to_text
from tests.fourier_runtimes.handmade import handmade

TEXT = to_text(handmade(0, 1).interface)
Spoiling = Callable[[dict[str, Any]], object]


def test_an_interface_says_the_same_when_it_is_read() -> None:
    assert to_text(from_text(TEXT, "live.onnx")) == TEXT


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value["banks"][1]["targets"].clear(),
        lambda value: value["banks"][0].update(count=0),
        lambda value: value["banks"][0].update(count=-1),
        lambda value: value["banks"][0].update(shape=[8, 0]),
        lambda value: value["banks"][0].update(shape=[-8, -8]),
        lambda value: value["banks"][0].update(shape=[8]),
        lambda value: value["banks"][0]["targets"][0].update(dtype="F8"),
        lambda value: value["banks"][0]["targets"][0].update(dtype=["F32"]),
        lambda value: value["banks"][0]["targets"][0].update(dtype="F32", norm=None),
        lambda value: value["parameters"][0].update(shape=[0, 8], base=""),
        lambda value: value["parameters"][0].update(shape=[-3, -8]),
        lambda value: value["parameters"][0].update(shape=[3, 8.0]),
    ],
)
def test_banks_without_targets_wrong_sizes_and_unknown_dtypes_are_refused(spoil: Spoiling) -> None:
    value = json.loads(TEXT)
    spoil(value)
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)

    with pytest.raises(InvalidAdapterError, match=r"live\.onnx") as caught:
        from_text(text, "live.onnx")

    assert caught.value.code == "E-LIVE-INTERFACE"
