"""`--again LABEL`: trials that are to run once more lose their results and what they have left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from experiments import resuming
from experiments.locking import locked_now
from experiments.records import Book
from experiments.trial import Experiment, Options, key


def planned(experiments: Iterable[Experiment], options: Options, book: Book) -> dict[str, str]:
    """Returns key -> label of all trials that the experiments plan, those that have run too."""
    plans = [experiment.plan(options, book) for experiment in experiments]
    return {key(trial): trial.label for plan in plans for trial in plan.trials}


def forget(parts: Sequence[str], labels: Mapping[str, str], book: Book, work: Path) -> list[str]:
    """Forget the trials of `labels`, key -> label, whose label holds one of `parts`.

    Experiments share trials: one is forgotten for all that have its result.

    Returns:
        Lines that say which, and of what experiments they were.

    Raises:
        SystemExit: One of them is running; none is forgotten then.
    """
    gone = {name: label for name, label in labels.items() if any(part in label for part in parts)}
    with ExitStack() as locks:
        for name, label in gone.items():
            if (work / name).is_dir():
                locks.enter_context(_stopped(work / name, label))
        held = book.holders(gone)
        book.forget(gone)
        for name in gone:
            resuming.empty(work / name)
    unknown = [part for part in parts if not any(part in label for label in gone.values())]
    return [
        *(f"nothing is called {part}" for part in unknown),
        *sorted(_told(label, held.get(name, [])) for name, label in gone.items()),
    ]


@contextmanager
def _stopped(folder: Path, label: str) -> Iterator[None]:
    """Keeps the trial of a folder from being run.

    Raises:
        SystemExit: It is running.
    """
    try:
        with locked_now(resuming.lock(folder)):
            yield
    except BlockingIOError:
        raise SystemExit(f"another process is running {label}: let it end or stop it") from None


def _told(label: str, experiments: Sequence[str]) -> str:
    of = f" (results of {', '.join(experiments)})" if experiments else ""
    return f"to be run again: {label}{of}"
