"""Runs what an experiment plans, in rounds, until nothing is left that has not run.

Each trial runs in a process of its own, and its result is kept at once: a killed run goes on where
it was, at the last checkpoint of each trial.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import threadpoolctl
from tqdm import tqdm

from experiments import resuming
from experiments.apart import apart
from experiments.locking import locked, whole
from experiments.records import Book, Record, environment, record
from experiments.trial import Context, Experiment, Json, Options, Plan, Trial, distinct, key

WORK = Path(__file__).parent / "out"
_RESULT = "result.json"


class News(NamedTuple):
    """What a trial's process tells of it.

    Attributes:
        steps: So many have just been taken.
        before: So many were taken in a run before, whose time is not this one's.
        line: For people.
    """

    steps: int = 0
    before: int = 0
    line: str = ""


Tell = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where trials run.

    Attributes:
        data: The folder of the data sets.
        device: "cpu" or "cuda".
        jobs: Trials at a time.
        work: The folder of one size's checkpoints and of what is computed once.
    """

    data: Path
    device: str
    jobs: int
    work: Path

    @property
    def threads(self) -> int:
        """Threads of one trial."""
        return max(1, (os.cpu_count() or 1) // self.jobs)


def run(
    experiment: Experiment,
    options: Options,
    machine: Machine,
    book: Book,
    only: Sequence[str] = (),
) -> dict[str, str]:
    """Run the trials of `experiment`, and write its JSON after each of them.

    Args:
        experiment: What plans them.
        options: For the plan.
        machine: Where they run.
        book: All results so far.
        only: Parts of labels: trials that hold none of them wait for another run.

    Returns:
        Label -> what went wrong, of each trial that failed; the others have run.
    """
    machine = replace(machine, jobs=1) if experiment.alone else machine
    failed: dict[str, str] = {}
    print(forecast(experiment, experiment.plan(options, book).only(only), machine, book))
    while waiting := _waiting(experiment.plan(options, book).only(only), book, failed):
        with _bar(waiting) as (bar, hear):
            for trial, job in _ended(waiting, machine, hear):
                try:
                    book.add(job.result())
                except (Exception, SystemExit) as wrong:  # noqa: BLE001  # the others go on
                    failed[trial.label] = f"{type(wrong).__name__}: {wrong}"
                    bar.write(f"{trial.label}: {failed[trial.label]}")
                book.write(experiment, options)
    book.write(experiment, options)
    return failed


def forecast(experiment: Experiment, plan: Plan, machine: Machine, book: Book) -> str:
    """Returns how many trials there are, how many have run, and how long the others will take."""
    planned = distinct(plan.trials)
    todo = [trial for trial in planned if book.get(trial) is None]
    done = len(planned) - len(todo)
    ahead = distinct([*todo, *plan.later])
    jobs = 1 if experiment.alone else machine.jobs
    seconds = sum(expected_seconds(t, book, _steps_done(t, machine)) for t in ahead) / jobs
    count = f"{experiment.name}: {done + len(ahead)} trials, {done} done"
    if not ahead:
        return f"{count}: nothing is left to run"
    return f"{count}; about {words(seconds)} to go, {jobs} at a time"


def expected_seconds(trial: Trial, book: Book, done: int = 0) -> float:
    """Returns the wall time of a trial after `done` steps: as its like took, or as it guesses."""
    like = [found for found in book if found.work == trial.work and found.steps]
    if not like:
        return trial.guess * (trial.steps - done)
    return (trial.steps - done) * sum(found.seconds / found.steps for found in like) / len(like)


def _steps_done(trial: Trial, machine: Machine) -> int:
    """Returns how many steps of a trial need not be taken any more."""
    folder = machine.work / key(trial)
    if not folder.is_dir():
        return 0
    if (folder / _RESULT).exists():
        return trial.steps
    found = environment(trial, machine.device, machine.threads)
    return min(trial.steps, resuming.steps_done(folder, found))


def words(seconds: float) -> str:
    """Returns a duration for people: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _waiting(plan: Plan, book: Book, failed: dict[str, str]) -> list[Trial]:
    todo = [trial for trial in distinct(plan.trials) if book.get(trial) is None]
    return [trial for trial in todo if trial.label not in failed]


def _ended(
    trials: Sequence[Trial], machine: Machine, hear: Tell
) -> Iterator[tuple[Trial, Future[Record]]]:
    """Yields trials as they end, each run in a process of its own."""
    with ThreadPoolExecutor(machine.jobs) as pool:
        running = {
            pool.submit(apart, _alone, machine.threads, trial, machine, hear=hear): trial
            for trial in trials
        }
        try:
            for job in as_completed(running):
                yield running[job], job
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _bar(trials: Sequence[Trial]) -> Iterator[tuple[tqdm[Any], Tell]]:
    """Gives a progress bar, and what shows on it what trials tell."""
    with tqdm(total=sum(trial.steps for trial in trials), unit="step", smoothing=0) as bar:
        lock = Lock()  # trials are heard in a thread each

        def hear(news: News) -> None:
            with lock:
                bar.initial += news.before
                bar.update(news.before + news.steps)
                if news.line:
                    bar.write(news.line)

        yield bar, hear


def _alone(tell: Tell, threads: int, trial: Trial, machine: Machine) -> Record:
    """Returns the trial's record; in a new process, forked from one that has set its threads."""
    os.environ |= {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    threadpoolctl.threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return _work(tell, trial, machine)


def _work(tell: Tell, trial: Trial, machine: Machine) -> Record:
    """Returns the trial's record: of this run, or of another process that was faster."""
    folder = machine.work / key(trial)
    with locked(resuming.lock(folder)):
        kept = folder / _RESULT
        if kept.exists():
            tell(News(before=trial.steps))
            return Record(**json.loads(kept.read_text("utf-8")))
        try:
            found = _finished(tell, trial, folder, machine)
            with whole(kept) as partial:
                partial.write_text(json.dumps(asdict(found), allow_nan=False), "utf-8")
        except BaseException:
            (folder / "error.txt").write_text(traceback.format_exc(), "utf-8")
            raise
        for checkpoint in folder.glob("checkpoint*"):
            checkpoint.unlink()
        return found


def _finished(tell: Tell, trial: Trial, folder: Path, machine: Machine) -> Record:
    """Returns the record of a trial that goes on with what its folder holds, if it may.

    The record's environment is that of the beginning: files of code may change in the meantime.
    """
    found = environment(trial, machine.device, machine.threads)
    if changed := resuming.begin(folder, found):
        tell(News(line=f"{trial.label} begins anew: {', '.join(changed)}"))
    clock = resuming.Clock(folder)
    tell(News(before=min(trial.steps, clock.steps)))

    def step() -> None:
        clock.step()
        tell(News(steps=1))

    shared = machine.work / "shared"
    result: Json = trial.run(Context(folder, shared, machine.data, machine.device, step))
    return record(trial, result, clock.seconds(), found)
