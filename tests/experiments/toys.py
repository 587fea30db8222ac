"""A trial that costs nothing, for tests of what runs trials."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from experiments.records import Record, environment, record
from experiments.trial import Context, Experiment, Json, Options, Plan, Results


@dataclass(frozen=True)
class Toy:
    """Counts to `steps` over as many runs as it takes.

    At step `fails` of its first run it goes wrong in the way `how`.
    """

    name: str
    steps: int = 3
    fails: int | None = None
    how: str = "error"

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
        if self.how == "slow" and first == 0:
            kept.write_text("0")
            time.sleep(1)
        for step in range(first, self.steps):
            if step == self.fails and first == 0:
                _fail(self.how)
            kept.write_text(str(step + 1))
            context.step()
        if self.how == "nan":
            return {"choose": float("nan")}
        return {
            "first": first,
            "last": self.steps,
            "process": os.getpid(),
            "threads": os.environ["OMP_NUM_THREADS"],
            "choose": float(len(self.name)),
        }


def _fail(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "data":
        raise SystemExit("the data is missing")
    raise ValueError("it failed, as it was told to")


def recorded(toy: Toy, choose: float = 0.5) -> Record:
    """Returns its record, as if it had run here."""
    return record(toy, {"choose": choose}, 1.04, environment(toy, "cpu", 1))


def experiment(*toys: Toy, name: str = "toys") -> Experiment:
    def plan(options: Options, results: Results) -> Plan:
        return Plan(toys)

    return Experiment(name, "does it run?", plan)


def staged(first: Toy, second: Toy) -> Experiment:
    """Returns an experiment whose second trial waits for the first one's result."""

    def plan(options: Options, results: Results) -> Plan:
        done = results.get(first) is not None
        return Plan([first, second]) if done else Plan([first], [second])

    return Experiment("toys", "does it run?", plan)
