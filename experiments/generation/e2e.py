"""E2E NLG: a meaning, `name[Alimentum], area[city centre]`, and what people said of it.

Its train split is not to be had here. So the development split trains, a tenth of its meanings
apart, which chooses; the paper's protocol needs the folder that has trainset.csv.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.causal.rows import Row, row
from experiments.fixed import SEED

_SYSTEM = "Describe the restaurant in a sentence or two."


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is to be said.

    Attributes:
        number: Its place among the different meanings of its file, from 0.
        text: Attributes with their values.
        references: What people said of it.
        lines: Where each of them stood in the file, from 0.
    """

    number: int
    text: str
    references: tuple[str, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Splits:
    """What trains, what chooses rates and epochs, and what reports, once.

    Attributes:
        train: Meanings that train.
        choose: Meanings whose loss chooses.
        report: Meanings of the test split that are answered.
        test: How many the test split has.
    """

    train: list[Meaning]
    choose: list[Meaning]
    report: list[Meaning]
    test: int


def splits(
    data: Path, trained_on: Literal["devset", "trainset"], count: int | None, reported: int | None
) -> Splits:
    """Returns the splits; `count` meanings of train and `reported` of test, drawn once for all.

    Raises:
        SystemExit: A file is missing.
    """
    test = read(data, "testset_w_refs")
    report = drawn(test, reported)
    if trained_on == "trainset":
        train = drawn(read(data, "trainset"), count)
        return Splits(train, read(data, "devset"), report, len(test))
    found = read(data, "devset")
    order = np.random.default_rng(SEED).permutation(len(found))
    tenth = len(found) // 10
    apart = {int(place) for place in order[:tenth]}
    choose = [each for place, each in enumerate(found) if place in apart]
    train = [each for place, each in enumerate(found) if place not in apart]
    choose = choose if count is None else drawn(choose, count)
    return Splits(drawn(train, count), choose, report, len(test))


def read(data: Path, name: str) -> list[Meaning]:
    """Returns the different meanings of a file, in its order.

    Raises:
        SystemExit: It is missing.
    """
    path = data / "e2e" / f"{name}.csv"
    if not path.exists():
        message = f"{path} is missing: give the folder that holds e2e/{name}.csv with --data"
        raise SystemExit(message)
    said: dict[str, dict[int, str]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for number, line in enumerate(csv.DictReader(lines)):
            said.setdefault(line["mr"], {})[number] = line["ref"]
    return [
        Meaning(number, text, tuple(references.values()), tuple(references))
        for number, (text, references) in enumerate(said.items())
    ]


def drawn(meanings: list[Meaning], count: int | None) -> list[Meaning]:
    """Returns `count` of the meanings, the same ones for all, in their order."""
    if count is None or count >= len(meanings):
        return meanings
    order = np.random.default_rng(SEED).permutation(len(meanings))[:count]
    return [meanings[place] for place in sorted(order)]


def rows(tokenizer: Any, meanings: Sequence[Meaning], together: int, most: int | None) -> list[Row]:
    """Returns training rows: `together` references a row, and `most` of a meaning; None: all."""
    found = []
    for meaning in meanings:
        asked = prompt(tokenizer, meaning)
        answers = [answer(tokenizer, reference) for reference in meaning.references[:most]]
        found += [
            row(asked, answers[first : first + together])
            for first in range(0, len(answers), together)
        ]
    return found


def prompt(tokenizer: Any, meaning: Meaning) -> list[int]:
    """Returns what the model is given: a chat, or plain text where it knows no chat."""
    if tokenizer.chat_template is None:
        text = f"{meaning.text} ||"
    else:
        chat = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": meaning.text},
        ]
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    tokens: list[int] = tokenizer(text)["input_ids"]
    return tokens


def answer(tokenizer: Any, reference: str) -> list[int]:
    """Returns what it should say, with the token that ends it."""
    text = reference if tokenizer.chat_template is not None else f" {reference}"
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*tokens, tokenizer.eos_token_id]
