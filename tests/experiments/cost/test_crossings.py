from __future__ import annotations

import pytest

from experiments.cost import work
from experiments.cost.crossings import (
    LARGEST,
    WIDTHS,
    lora_seconds,
    rank_from,
    step_seconds,
    width_from,
)
from experiments.cost.model import predicted

FREE_FFT = {"gemm": 1e-11, "thin": 1e-10, "route": 8e-10}
DEAR_FFT = {"gemm": 1e-11, "thin": 1e-12, "fft": 1e-9}


def test_widths_are_asked_in_order_up_to_the_largest() -> None:
    assert list(WIDTHS) == sorted(set(WIDTHS))
    assert WIDTHS[-1] == LARGEST


def test_the_cheaper_path_is_taken() -> None:
    found = step_seconds(256, 512, 100, FREE_FFT)

    each = [
        predicted(work.fourier(256, 512, 100, (path,) * 3), FREE_FFT)
        for path in ("weight", "activation")
    ]
    assert found == min(each) < max(each)


def test_where_ffts_are_free_fourier_is_cheaper_from_some_width_on() -> None:
    """Below 480 it is, too, through the weight; that does not count."""
    width = width_from(512, 1000, 8, FREE_FFT)

    assert width is not None
    before = WIDTHS[WIDTHS.index(width) - 1]
    assert step_seconds(width, 512, 1000, FREE_FFT) <= lora_seconds(width, 512, 8, FREE_FFT)
    assert step_seconds(before, 512, 1000, FREE_FFT) > lora_seconds(before, 512, 8, FREE_FFT)


def test_where_ffts_are_dear_it_never_is() -> None:
    assert width_from(512, 1000, 8, DEAR_FFT) is None


def test_a_rank_costs_what_fourier_does_from_there_on() -> None:
    rank = rank_from(1024, 512, 1000, FREE_FFT)

    assert rank is not None
    ours = step_seconds(1024, 512, 1000, FREE_FFT)
    assert lora_seconds(1024, 512, rank, FREE_FFT) >= ours
    assert rank == 1 or lora_seconds(1024, 512, rank - 1, FREE_FFT) < ours


@pytest.mark.parametrize("rank", [1, 8])
def test_a_lora_takes_longer_with_its_rank(rank: int) -> None:
    assert lora_seconds(768, 64, rank, DEAR_FFT) < lora_seconds(768, 64, 2 * rank, DEAR_FFT)
