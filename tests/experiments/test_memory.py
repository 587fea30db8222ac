"""The peak of a part is of that part alone."""

from __future__ import annotations

from experiments.memory import peak_bytes, start_peak

_MIB = 2**20


def test_what_was_freed_before_is_in_no_peak() -> None:
    start_peak("cpu")
    before = peak_bytes("cpu")
    blocks = [bytearray(b"1") * 60_000 for _ in range(5000)]  # of the heap, not mapped each
    assert peak_bytes("cpu") > before + 250 * _MIB
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself

    start_peak("cpu")

    assert peak_bytes("cpu") < before + 100 * _MIB
