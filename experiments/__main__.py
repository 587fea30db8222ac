"""`python -m experiments NAME [--size small]`: run an experiment; without a name, list them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from experiments.catalogue import EXPERIMENTS
from experiments.records import RESULTS, Book
from experiments.runner import WORK, Machine, forecast, run
from experiments.settings import SIZES
from experiments.trial import Options

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    """Run what the command line asks for."""
    chosen = _parser().parse_args()
    options = Options(chosen.size, chosen.model)
    jobs = chosen.jobs or (1 if chosen.device == "cuda" else os.cpu_count() or 1)
    machine = Machine(chosen.data, chosen.device, jobs, chosen.work)
    book = Book(chosen.size, _folder(chosen.results, chosen.model))
    if not chosen.names:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:14} {experiment.question}")
        return
    experiments = [EXPERIMENTS[name] for name in chosen.names]
    if chosen.dry_run:
        for experiment in experiments:
            print(forecast(experiment, experiment.plan(options, book), machine, book))
        return
    failed = [line for each in experiments for line in run(each, options, machine, book)]
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} trials failed:", *failed]))


def _folder(results: Path, model: str | None) -> Path:
    """Returns where results go: those of a model that is not configured stand apart."""
    return results if model is None else results / Path(model).name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *EXPERIMENTS])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, help="trials at a time; default: one a core, 1 on cuda")
    parser.add_argument("--model", help="a folder or hub name in place of the configured model")
    parser.add_argument("--data", type=Path, default=_DATA, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, default=WORK, help="the folder of checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to run")
    return parser


if __name__ == "__main__":
    main()
