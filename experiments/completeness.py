"""`python -m experiments.completeness [--size small]`: what the committed results lack.

Of every experiment: planned trials that have not run, and results that no plan asks for any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from experiments.catalogue import EXPERIMENTS
from experiments.records import RESULTS, Book, Record, read
from experiments.settings import SIZES
from experiments.trial import Options, Plan, Results, Trial, distinct, key


def missing(plan: Plan, results: Results) -> list[Trial]:
    """Returns the planned trials that have not run, each once; stand-ins that wait come last."""
    todo = [trial for trial in plan.trials if results.get(trial) is None]
    return distinct([*todo, *plan.later])


def strangers(records: Iterable[Record], plan: Plan) -> list[Record]:
    """Returns the records that the plan does not ask for: of settings that have changed."""
    planned = {key(trial) for trial in plan.trials}
    return [record for record in records if record.key not in planned]


def main() -> None:
    """Print a line for each experiment and each trial; fail where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m experiments.completeness", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    size = parser.parse_args().size
    book, whole = Book(size), True
    for name, experiment in EXPERIMENTS.items():
        plan = experiment.plan(Options(size), book)
        path = RESULTS / size / f"{name}.json"
        lacking = missing(plan, book)
        strange = strangers(read(path) if path.exists() else [], plan)
        count = len(distinct([*plan.trials, *plan.later]))
        print(f"{name}: {count - len(lacking)} of {count} trials have run")
        lines = [f"  missing: {trial.label}" for trial in lacking]
        lines += [f"  not planned: {record.label}" for record in strange]
        print("\n".join(lines), end="\n" if lines else "")
        whole = whole and not lacking and not strange
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
