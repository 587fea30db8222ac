"""Damage: every bit of a .fft file is held by a rule or by the digest (spec, clause 4.2)."""

from __future__ import annotations

import pytest

import fourier_format
from fourier_format.errors import InvalidAdapterError
from tests.fourier_format import minimal, samples
from tests.fourier_format.minimal import Fields, Tensors


def everything(fields: Fields, tensors: Tensors) -> None:
    """Give the small file one of each part that a file can have."""
    whole = samples.adapter()
    fields["replacements"] = ["head/bias"]
    tensors["replacements/head/bias"] = whole.replacements["head.weight"][0, :3]
    fields["new"] = {"must_understand": False}
    tensors["extensions/new/é"] = whole.entry_sets[1].coefficients[0, :3]
    fields["metadata"] = {"note": 'a "quoted" word\n'}


@pytest.mark.parametrize("data", [minimal.fft(), minimal.fft(everything)], ids=["small", "full"])
def test_every_flipped_bit_is_detected(data: bytes) -> None:
    fourier_format.from_bytes(data)
    undetected = []

    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            fourier_format.from_bytes(bytes(flipped))
        except InvalidAdapterError:
            continue
        undetected.append(bit)

    assert undetected == []


def test_every_lost_or_doubled_byte_is_detected() -> None:
    data = minimal.fft(everything)

    for at in range(len(data)):
        for changed in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:]):
            if changed != data:
                with pytest.raises(InvalidAdapterError):
                    fourier_format.from_bytes(changed)


def test_every_truncation_is_detected() -> None:
    data = minimal.fft(everything)

    for size in range(len(data)):
        with pytest.raises(InvalidAdapterError):
            fourier_format.from_bytes(data[:size])
