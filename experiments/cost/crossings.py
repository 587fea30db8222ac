"""Where FourierFT becomes cheaper than a LoRA: what follows from the fitted model."""

from __future__ import annotations

from experiments.cost import work
from experiments.cost.model import Costs, crossing, predicted

LARGEST = 16_384
WIDTHS = tuple(64 * 2**octave * part for octave in range(8) for part in (2, 3))[:-1]
"""128, 192, 256, 384 ... LARGEST: where the model is asked."""
MOST = 512
RANKS = tuple(range(1, MOST + 1))


def step_seconds(width: int, tokens: int, n: int, costs: Costs) -> float:
    """Returns the seconds of a step with FourierFT on the path that the model finds cheaper."""
    works = [work.fourier(width, tokens, n, (path,) * 3) for path in work.THROUGH]
    return min(predicted(found, costs) for found in works)


def path_of(width: int, tokens: int, n: int, costs: Costs) -> str:
    """Returns the path that the model finds cheaper: "weight" or "activation"."""
    return min(
        work.THROUGH,
        key=lambda path: predicted(work.fourier(width, tokens, n, (path,) * 3), costs),
    )


def lora_seconds(width: int, tokens: int, rank: int, costs: Costs) -> float:
    """Returns the seconds of a step with a LoRA."""
    return predicted(work.lora(width, tokens, rank), costs)


def width_from(tokens: int, n: int, rank: int, costs: Costs) -> int | None:
    """Returns the width from which on FourierFT's step is the cheaper; None: up to LARGEST never.

    The answer holds from there to LARGEST.
    """
    return crossing(
        WIDTHS,
        lambda width: (
            step_seconds(width, tokens, n, costs) <= lora_seconds(width, tokens, rank, costs)
        ),
    )


def rank_from(width: int, tokens: int, n: int, costs: Costs) -> int | None:
    """Returns the rank from which on a LoRA's step costs as much; None: not up to MOST."""
    ours = step_seconds(width, tokens, n, costs)
    return crossing(RANKS, lambda rank: lora_seconds(width, tokens, rank, costs) >= ours)
