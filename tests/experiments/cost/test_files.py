from __future__ import annotations

from pathlib import Path

from experiments.cost.files import measured
from experiments.cost.points import find

_HEADER = 64  # bytes that more digits can take


def test_a_fft_grows_with_n_and_a_lora_with_width_and_rank(tmp_path: Path) -> None:
    small, large = (measured(width, 2, [10, 90], [1, 4], tmp_path) for width in (64, 256))

    assert small["targets"] == 4
    for found in (small, large):
        ours = [find(found["files"], kind="fourier", size=n)["bytes"] for n in (10, 90)]
        numbers = 80 * (4 * 4 + 8)  # a coefficient a target, an entry once
        assert 0 <= ours[1] - ours[0] - numbers < _HEADER
    wider = 4 * 2 * 4 * (256 - 64) * 4  # targets, factors, rank, float32
    lora = [find(found["files"], kind="lora", size=4)["bytes"] for found in (small, large)]
    assert 0 <= lora[1] - lora[0] - wider < _HEADER
    assert list(tmp_path.iterdir()) == []
