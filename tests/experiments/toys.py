"""A trial that costs nothing, for tests of what runs trials."""

from __future__ import annotations

import os
from dataclasses import dataclass

from experiments.trial import Context, Experiment, Json, Options, Plan, Results


@dataclass(frozen=True)
class Toy:
    """Counts to `steps` over as many runs as it takes; fails at step `fails`, once or always."""

    name: str
    steps: int = 3
    fails: int | None = None
    always: bool = False

    @property
    def label(self) -> str:
        return f"toy {self.name}"

    @property
    def work(self) -> str:
        return "toy"

    @property
    def guess(self) -> float:
        return 10.0

    def run(self, context: Context) -> Json:
        kept = context.folder / "step"
        first = int(kept.read_text()) if kept.exists() else 0
        for step in range(first, self.steps):
            if step == self.fails and (self.always or first == 0):
                raise ValueError("it failed, as it was told to")
            kept.write_text(str(step + 1))
            context.step()
        return {
            "first": first,
            "last": self.steps,
            "process": os.getpid(),
            "choose": float(len(self.name)),
        }


def experiment(*toys: Toy) -> Experiment:
    def plan(options: Options, results: Results) -> Plan:
        return Plan(toys)

    return Experiment("toys", "does it run?", plan)


def staged(first: Toy, second: Toy) -> Experiment:
    """Returns an experiment whose second trial waits for the first one's result."""

    def plan(options: Options, results: Results) -> Plan:
        done = results.get(first) is not None
        return Plan([first, second]) if done else Plan([first], [second])

    return Experiment("toys", "does it run?", plan)
