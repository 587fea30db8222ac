"""What `python -m experiments` does: run experiments, forget results, say what there is."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.again import forget, planned
from experiments.catalogue import EXPERIMENTS
from experiments.pretrained import FOLDER
from experiments.records import RESULTS, Book
from experiments.runner import WORK, Machine, forecast, run
from experiments.settings import SIZES
from experiments.trial import Options

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    """Run what the command line asks for."""
    parser = _parser()
    chosen = parser.parse_args()
    _check(parser, chosen)
    if chosen.models is not None:
        os.environ[FOLDER] = str(chosen.models.resolve())
    options = Options(chosen.size, chosen.model)
    jobs = chosen.jobs or (1 if chosen.device == "cuda" else os.cpu_count() or 1)
    machine = Machine(chosen.data, chosen.device, jobs, chosen.work / chosen.size)
    book = Book(chosen.size, _folder(chosen.results, chosen.model))
    if chosen.again:
        labels = _labels(chosen.names, options, book)
        print("\n".join(forget(chosen.again, labels, book, machine.work)))
    if not chosen.names:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:14} {experiment.question}")
        return
    unknown = _unknown(chosen.only, chosen.names, options, book)
    if unknown:
        parser.error(f"--only: no trial's label holds {', '.join(unknown)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read as transformers is imported
    # Each trial's process is forked from one that has imported these: 8 s less a trial.
    multiprocessing.set_forkserver_preload(["experiments.preloaded", "transformers", "peft"])
    failed: dict[str, str] = {}
    for experiment in (EXPERIMENTS[name] for name in chosen.names):
        if chosen.dry_run:
            plan = experiment.plan(options, book).only(chosen.only)
            print(forecast(experiment, plan, machine, book))
        else:
            failed |= run(experiment, options, machine, book, chosen.only)
    if failed:
        raise SystemExit(_told(failed))


def _check(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    """Refuse what means nothing, before anything is read."""
    unknown = [name for name in chosen.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    if chosen.again and chosen.dry_run:
        parser.error("--again forgets results, --dry-run changes nothing: give one of them")
    if chosen.jobs is not None and chosen.jobs < 1:
        parser.error(f"--jobs: got {chosen.jobs}, expected 1 or more")
    if chosen.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("--device cuda: torch sees no CUDA device; leave it out to use the CPU")


def _unknown(parts: Sequence[str], names: Sequence[str], options: Options, book: Book) -> list[str]:
    """Returns which parts of labels no trial of the named experiments has."""
    plans = [EXPERIMENTS[name].plan(options, book) for name in names] if parts else []
    labels = [trial.label for plan in plans for trial in (*plan.trials, *plan.later)]
    return [part for part in parts if not any(part in label for label in labels)]


def _labels(names: Sequence[str], options: Options, book: Book) -> dict[str, str]:
    """Returns key -> label of the named experiments' trials; without names of all there is."""
    if names:
        return planned([EXPERIMENTS[name] for name in names], options, book)
    found = planned(EXPERIMENTS.values(), options, book)
    return found | {record.key: record.label for record in book}


def _told(failed: Mapping[str, str]) -> str:
    """Returns what went wrong: each thing once, with the trials that it happened to."""
    labels = defaultdict(list)
    for label, wrong in failed.items():
        labels[wrong].append(label)
    lines = [
        f"{wrong}\n  in {found[0]}" + (f" and {len(found) - 1} more" if found[1:] else "")
        for wrong, found in labels.items()
    ]
    return "\n".join(
        [f"{len(failed)} trials failed; error.txt in their folders says where:", *lines]
    )


def _folder(results: Path, model: str | None) -> Path:
    """Returns where results go: those of a model that is not configured stand apart."""
    return results if model is None else results / model.replace("/", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Run experiments; without a name, list them.",
        epilog="sizes: smoke does it run; small on two cores, hours; medium on a GPU; paper the "
        "paper's models and tasks, on a GPU",
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="experiments; none: list them")
    add("--size", choices=SIZES, default="small")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--jobs", type=int, help="trials at a time; default: one a core, 1 on cuda")
    add("--data", type=Path, default=_DATA, help="the folder of the data sets")
    add("--models", type=Path, help="a folder of models by name, tried before any hub")
    add("--model", metavar="NAME", help="in place of the configured model")
    add("--work", type=Path, default=WORK, help="the folder of checkpoints")
    add("--results", type=Path, default=RESULTS, help="the folder of results")
    add("--only", metavar="LABEL", action="append", default=[], help="run only such trials")
    add(
        "--again",
        metavar="LABEL",
        action="append",
        default=[],
        help="forget results of such trials",
    )
    add("--dry-run", action="store_true", help="only say what there is to run")
    return parser


if __name__ == "__main__":
    main()
