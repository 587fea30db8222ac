"""Instructions with their answers: a JSONL file of anyone's, or made from E2E's rows.

A line of the file is {"instruction": ..., "input": ..., "output": ...}, as Alpaca's are; the input
may be empty or absent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.causal.rows import Row, row
from experiments.fixed import SEED
from experiments.generation.e2e import Meaning, read

_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
_ALONE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
"""Alpaca's prompts (github.com/tatsu-lab/stanford_alpaca)."""


@dataclass(frozen=True, slots=True)
class Example:
    """A task.

    Attributes:
        number: Its line, from 0.
        group: Examples of one group are all trained on, or none: those of one meaning of E2E.
        instruction: What is to be done.
        input: With what; may be empty.
        output: The answer.
    """

    number: int
    group: int
    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Splits:
    """What trains, and about a tenth apart: its loss is taken, its first lines are answered."""

    train: list[Example]
    choose: list[Example]


def splits(source: str, data: Path, count: int | None) -> Splits:
    """Returns `count` examples in a fixed random order, divided by whole groups; None: all.

    Args:
        source: "jsonl": `data` is the file; "e2e": it is the folder of the data sets.
        data: What --data gives.
        count: How many.

    Raises:
        SystemExit: `data` is not there, or a line is not such an example.
    """
    found = list(_from_e2e(data) if source == "e2e" else _from_jsonl(data))
    order = np.random.default_rng(SEED).permutation(len(found))[:count]
    chosen = [found[place] for place in order]
    tenth = max(1, len(chosen) // 10)
    sizes = Counter(example.group for example in chosen)
    apart: set[int] = set()
    for example in chosen:
        if sum(sizes[group] for group in apart) >= tenth:
            break
        apart.add(example.group)
    return Splits(
        [example for example in chosen if example.group not in apart],
        [example for example in chosen if example.group in apart],
    )


def prompt(tokenizer: Any, example: Example) -> list[int]:
    """Returns what the model is given."""
    form = _WITH_INPUT if example.input else _ALONE
    text = form.format(instruction=example.instruction, input=example.input)
    tokens: list[int] = tokenizer(text)["input_ids"]
    return tokens


def rows(tokenizer: Any, examples: list[Example], length: int) -> list[Row]:
    """Returns training rows of at most `length` tokens: longer answers lose their end.

    Examples whose prompt leaves no room for an answer are left out.
    """
    found = []
    for example in examples:
        asked = prompt(tokenizer, example)
        answer = tokenizer(example.output, add_special_tokens=False)["input_ids"]
        room = length - len(asked)
        if room > 0:
            found.append(row(asked, [[*answer, tokenizer.eos_token_id][:room]]))
    return found


def _from_jsonl(path: Path) -> Iterator[Example]:
    if not path.is_file():
        raise SystemExit(
            f"{path} is no file: give a JSONL file of instruction, input and output with --data"
        )
    for number, line in enumerate(path.read_text("utf-8").splitlines()):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            instruction = fields["instruction"]
            given = fields.get("input") or ""
            yield Example(number, number, instruction, given, fields["output"])
        except (ValueError, KeyError, TypeError) as wrong:
            raise SystemExit(
                f"{path}, line {number + 1}: not instruction, input and output: {wrong!r}"
            ) from wrong


def _from_e2e(data: Path) -> Iterator[Example]:
    """Gives three tasks in turn: to describe, to list the attributes, to name."""
    number = 0
    for meaning in read(data, "devset"):
        for reference in meaning.references:
            yield _task(number, meaning, reference)
            number += 1


def _task(number: int, meaning: Meaning, reference: str) -> Example:
    named = number, meaning.number
    if number % 3 == 0:
        return Example(*named, "Describe this restaurant.", meaning.text, reference)
    if number % 3 == 1:
        return Example(*named, "List what is said of the restaurant.", reference, meaning.text)
    name = meaning.text.partition("name[")[2].partition("]")[0]
    return Example(*named, "What is the restaurant called?", reference, name)
