"""What no trial varies: the trainings use it, and the page states it.

It stands apart from the trainings, so that the page is built without torch.
"""

from __future__ import annotations

WARM_UP = 0.06
"""The part of all steps in which the rate rises (arXiv 2405.03003, table 9)."""

ATTENTION_DROPOUT = 0.0
"""Dropout of an encoder's attention, left out for every method: a fifth of a CPU's step."""

MARGIN = 1e-4
"""A class or token that leads by less than this may differ between two runtimes."""

SEED = 2405_03003
"""Of what is drawn once for all trials: splits, samples, resamples."""
