"""The recipe of instruction tuning, with its cost beside LoRA's.

Its quality is not measured: the paper has GPT-4 judge MT-Bench and Vicuna. Rates are the recipe's,
not chosen, so that the losses are no comparison of methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.causal.methods import Fourier, Lora, Method
from experiments.instruction.trial import InstructionTrial
from experiments.settings import settings
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class InstructionSettings:
    """configs/instruction.toml.

    Attributes:
        model: A name for models.located.
        n: Coefficients of a weight.
        alpha: The scale.
        ranks: Of the LoRAs, whose alpha is twice the rank.
        rates: Kind of method -> its rate.
        bits: Each is tried: 32, 4.
        seeds: Each is run.
        epochs: Of InstructionTrial, as all below.
        batch: Rows of a step.
        length: Tokens of a row at most.
        precision: Of products in training.
        checkpointing: Whether activations are computed anew.
        source: "e2e" or "jsonl".
        rows: Examples that are used; 0 for all.
        answered: Examples that are answered by FourierFT's models.
        limit: Tokens of an answer at most.
        cost_alone: What differs in trials of random weights, whose cost alone is measured; a model
            of unlearned.SHAPES. Nothing: there are none.
    """

    model: str
    n: int
    alpha: float
    ranks: Sequence[int]
    rates: Mapping[str, float]
    bits: Sequence[int]
    seeds: Sequence[int]
    epochs: int
    batch: int
    length: int
    precision: str
    checkpointing: bool
    source: str
    rows: int
    answered: int
    limit: int
    cost_alone: Mapping[str, Any] = field(default_factory=dict)

    def trials(self) -> list[InstructionTrial]:
        """Returns a trial for each method, base and seed."""
        loras = [Lora(rank, 2.0 * rank) for rank in self.ranks]
        methods: list[Method] = [Fourier(self.n, self.alpha), *loras]
        return [
            self.trial(method, bits, seed)
            for bits in self.bits
            for method in methods
            for seed in self.seeds
        ]

    def trial(self, method: Method, bits: int, seed: int) -> InstructionTrial:
        """Returns one trial."""
        return InstructionTrial(
            model=self.model,
            method=method,
            bits=bits,
            rate=self.rates[method.kind],
            seed=seed,
            epochs=self.epochs,
            batch=self.batch,
            length=self.length,
            precision=self.precision,
            checkpointing=self.checkpointing,
            source=self.source,
            rows=self.rows or None,
            answered=self.answered if method.kind == "fourier" else 0,
            limit=self.limit,
        )


def plan(options: Options, results: Results) -> Plan:  # noqa: ARG001  # nothing is chosen
    """Returns the trials, with those of random weights where there are any."""
    found = settings(InstructionSettings, "instruction", options.size, model=options.model)
    trials = found.trials()
    if found.cost_alone and options.model is None:
        trials += replace(found, answered=0, cost_alone={}, **found.cost_alone).trials()
    return Plan(trials)


INSTRUCTION = Experiment(
    "instruction", "The recipe of LLaMA-2-7B, its cost beside LoRA r=64 and r=8", plan, alone=True
)
