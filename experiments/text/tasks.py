"""The tasks: where their rows are, and which split chooses and which reports.

MRPC and STS-B come with labelled tests. SST-2's labelled test is that of the original corpus. Of
the other GLUE tasks no test labels are published: a fixed tenth of train chooses, and GLUE's dev
reports, once, and is called dev.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.fixed import SEED

Labels = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Sentences or pairs with their labels.

    Attributes:
        first: The sentences.
        second: The other sentences of pairs; None for single ones.
        labels: Classes from 0, or scores scaled to 0..1.
        ids: Where each row stood in its file, from 0.
    """

    first: list[str]
    second: list[str] | None
    labels: Labels
    ids: list[int]

    def __len__(self) -> int:
        return len(self.first)

    def chosen(self, order: npt.NDArray[np.int64]) -> Rows:
        """Returns the rows at `order`."""
        second = None if self.second is None else [self.second[k] for k in order]
        first = [self.first[k] for k in order]
        return Rows(first, second, self.labels[order], [self.ids[k] for k in order])


@dataclass(frozen=True, slots=True)
class Splits:
    """What trains, what chooses rates and epochs, and what reports, once."""

    train: Rows
    choose: Rows
    report: Rows


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    Attributes:
        name: As in the configuration.
        metric: Of scoring.METRICS, what chooses and what the page reports.
        classes: How many; 0 for a score.
        pairs: Whether a row is two sentences.
        reported: What the reporting split is called.
        tokens: Of a row on average, for estimates.
        size: Rows of its train split, for estimates.
        read: The folder of the data sets -> the splits.
    """

    name: str
    metric: str
    classes: int
    pairs: bool
    reported: str
    tokens: int
    size: int
    read: Callable[[Path], Splits]


def splits(task: Task, data: Path, rows: int | None = None) -> Splits:
    """Returns the task's splits; of train only `rows`, drawn once for all.

    Where there are fewer than 100 `rows`, the other splits are as small.

    Raises:
        SystemExit: A file is missing.
    """
    found = task.read(data)
    if rows is None:
        return found
    others = (found.choose, found.report)
    choose, report = (_drawn(each, rows) if rows < 100 else each for each in others)
    return Splits(_drawn(found.train, rows), choose, report)


def _drawn(rows: Rows, count: int) -> Rows:
    order = np.random.default_rng(SEED).permutation(len(rows))[:count]
    return rows.chosen(np.sort(order))


def _mrpc(data: Path) -> Splits:
    def split(name: str) -> Rows:
        rows = list(_table(data / "mrpc" / f"{name}.tsv"))
        return _pairs(rows, "#1 String", "#2 String", [float(row["Quality"]) for row in rows])

    return Splits(split("train"), split("dev"), split("test"))


def _stsb(data: Path) -> Splits:
    fields = ("genre", "file", "year", "id", "score", "sentence1", "sentence2")

    def split(name: str) -> Rows:
        rows = list(_table(data / "stsb" / f"sts-{name}.csv", fields))
        return _pairs(rows, "sentence1", "sentence2", [float(row["score"]) / 5 for row in rows])

    return Splits(split("train"), split("dev"), split("test"))


def _sst2(data: Path) -> Splits:
    def split(name: str, fields: tuple[str, ...] | None = None) -> Rows:
        rows = list(_table(data / "sst2" / f"{name}.tsv", fields))
        labels = np.array([float(row["label"]) for row in rows])
        return Rows([row["sentence"] for row in rows], None, labels, list(range(len(rows))))

    return Splits(split("train"), split("dev"), split("test", ("sentence", "label")))


def _glue(
    folder: str, first: str, second: str | None, label: Callable[[str], float]
) -> Callable[[Path], Splits]:
    """Returns the reader of a task in GLUE's own files, data/<folder>/{train,dev}.tsv."""

    def read(data: Path) -> Splits:
        def split(name: str) -> Rows:
            fields = ("source", "label", "mark", "sentence") if folder == "CoLA" else None
            rows = list(_table(data / folder / f"{name}.tsv", fields))
            labels = np.array([label(row["label"]) for row in rows])
            others = None if second is None else [row[second] for row in rows]
            return Rows([row[first] for row in rows], others, labels, list(range(len(rows))))

        train = split("train")
        order = np.random.default_rng(SEED).permutation(len(train))
        tenth = len(train) // 10
        return Splits(
            train.chosen(np.sort(order[tenth:])), train.chosen(np.sort(order[:tenth])), split("dev")
        )

    return read


def _pairs(rows: list[dict[str, str]], first: str, second: str, labels: list[float]) -> Rows:
    firsts, seconds = [row[first] for row in rows], [row[second] for row in rows]
    return Rows(firsts, seconds, np.array(labels), list(range(len(rows))))


def _table(path: Path, fields: tuple[str, ...] | None = None) -> Iterator[dict[str, str]]:
    if not path.exists():
        raise SystemExit(f"{path} is missing: give the folder of the data sets with --data")
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, fields, delimiter="\t", quoting=csv.QUOTE_NONE)


def _not_entailed(label: str) -> float:
    return float(label == "not_entailment")


TASKS = {
    task.name: task
    for task in (
        Task("mrpc", "accuracy", 2, True, "test", 53, 3668, _mrpc),
        Task("stsb", "pearson", 0, True, "test", 30, 5749, _stsb),
        Task("sst2", "accuracy", 2, False, "test", 13, 67349, _sst2),
        Task("cola", "matthews", 2, False, "dev", 11, 8551, _glue("CoLA", "sentence", None, float)),
        Task(
            "rte",
            "accuracy",
            2,
            True,
            "dev",
            70,
            2490,
            _glue("RTE", "sentence1", "sentence2", _not_entailed),
        ),
        Task(
            "qnli",
            "accuracy",
            2,
            True,
            "dev",
            50,
            104743,
            _glue("QNLI", "question", "sentence", _not_entailed),
        ),
    )
}
