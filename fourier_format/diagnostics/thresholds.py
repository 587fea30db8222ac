"""The numbers that decide, each with where it comes from.

"Measured" is four short runs made for this module, one seed: all-MiniLM-L6-v2 with query and value
adapted, MRPC, n = 1000, batches of 16, Adam, zero start. At alpha = 150 and a rate of 0.06, with
which four epochs reach the accuracy of LoRA of rank 8, the change of the 12 weights was 0.014 to
0.031 after 1 step, 0.07 to 0.16 after 20, 0.18 to 0.40 after 100 and 0.32 to 0.70 after 200. At ten
times the scale or the rate it was 0.56 to 1.2 after 10 steps, and the loss had not fallen after 75.

"Estimated" is `likely_change` of settings published with results. Not measured in it are the base
weights, whose standard deviation was taken to be 0.03 to 0.06, and for LLaMA-2-7B the number of
steps, 3,000. Those that worked: RoBERTa-base on MRPC 0.2, on QNLI 0.05; LLaMA-2-7B 0.03. That which
failed, Llama-3.2-3B in PEFT's benchmark at a rate of 1e-4: 1.5e-4 with n = 1000 (accuracy 0.000),
3.3e-4 with n = 5000 (0.096).
"""

from __future__ import annotations

from typing import Final

WALK: Final = 1.2
"""After s steps of Adam a coefficient has gone about WALK * sqrt(s) rates, not s of them.

Measured: 1.1 to 1.5 at 5 to 200 steps, at rates of 0.06 and of 1e-4 alike: the gradients' signs
are those of a random walk with little drift.
"""

PAPER_RATES: Final = (1e-2, 3e-1)
"""The lowest and highest rate of the paper's tables (QNLI; ViT), at a gain of 1."""

LOW_RATE: Final = 3e-3
"""Below this, times the gain, no published setting lies; LoRA's habits (1e-4 to 1e-3) do.

The column of the paper's instruction table that may belong to FourierFT says 3e-3.
"""

AIM: Final = 0.1
"""The relative change at which advice aims: amid the estimates of what worked, 0.03 to 0.2.

For the run that failed it gives a rate of 0.05, which the authors' scripts use for LLaMA-2.
"""

ENOUGH: Final = 1e-2
"""A likely change from which a low rate is no matter: a third of the least estimate that worked."""

TOO_SMALL: Final = 1e-3
"""A relative change that will not show: 3 to 7 times the estimates of the run that failed.

A layer's output changes by about the same share as its weight, for inputs of no direction.
"""

DISTURBING: Final = 0.25
"""A relative change within `EARLY` steps that disturbs the base.

Between the largest measured at step 20 of a run that learnt well, 0.16, and the 0.45 of a random
start on the same weights, which cost five points of accuracy. For SDXL, where users call a scale of
150 garbage, a random start of n = 1000 is estimated at 0.24 in layers 640 wide.
"""

EARLY: Final = 20
"""Steps up to which `DISTURBING` holds as it is; later it grows by sqrt(s), as the walk does."""

OUTGROWN: Final = 1.0
"""The delta weight is as large as the weight; arithmetic. `DISTURBING` reaches it at step 320.

Only a note: at the measured pace a run that did well comes here after 400 to 1,700 steps.
"""

OVERWHELMED: Final = 3.0
"""Less than a third of a layer's output still is the base's: 1 / sqrt(1 + 3^2) = 0.32."""

LOSS_GROWTH: Final = 3.0
"""The loss over that of the start. A batch's noise is less than 2; a language model that falls
from a loss of 2 to guessing among 32,000 words, ln 32000 = 10.4, is at 5."""

GRADIENT_GROWTH: Final = 100.0
"""The gradient's norm over its usual one: two orders. Measured over 200 steps: about 20."""

ADAM_EPSILON: Final = 1e-8
"""The default of torch and optax (Keras: 1e-7). A step is rate * g / (g + epsilon), so that at
g = epsilon it is half of what it should be. The gradient of a coefficient carries alpha / (out *
in): measured 4e-6 to 6e-4 at 384 x 384; of a layer 4096 wide it is smaller by two orders."""

CONVERGED: Final = 1e-2
"""A loss under this share of the start's has left no gradient to find; arithmetic."""

LOST_SHARE: Final = 0.35
"""The relative change, in units of the dtype's epsilon, at which half of the weights stay as they
were when it is merged, and rounding is half as large as the change. Computed for normal weights
and changes in BF16 and F16; a test repeats it."""

DEFAULT_STEPS: Final = 1_000
"""Where no number of steps is planned: the paper's runs take some thousands."""

WARM_UP: Final = 0.1
"""Share of the planned steps before which smallness says nothing; the paper warms up for 0.06."""

PLATEAU_PART: Final = 0.25
"""A plateau is looked for in the last quarter of the steps, where a walk grows by 15 percent."""

PLATEAU_POINTS: Final = 10
"""Observations that this quarter must hold: enough for a standard error."""

PLATEAU_MOVEMENT: Final = 2e-2
"""The norm of the coefficients moved by less than this share: a seventh of the walk's."""

PLATEAU_LOSS: Final = 1e-2
"""The loss fell by less than this share, or by less than two standard errors of its noise."""

DECAYED: Final = 0.5
"""A rate under this share of its highest is the schedule's end, where stillness is no plateau."""
