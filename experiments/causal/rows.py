"""Prompts with their answers, as a decoder is trained on them.

A row is a prompt with some of its answers: the prompt is computed once, and no answer sees another.
That gives what each pair alone would, in fewer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IGNORED = -100
"""The label of a token after which nothing is to be learned."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its answers, flattened.

    The prompt but for its last token comes first; then, for each answer, that token and all of the
    answer but its end. So every token of an answer is the label of one position.

    Attributes:
        tokens: (length,).
        part: (length,) 0 for the prompt, k for answer k.
        positions: (length,) where each token would stand if its answer were alone.
        labels: (length,) the next token, or IGNORED.
    """

    tokens: Integers
    part: Integers
    positions: Integers
    labels: Integers

    @property
    def answered(self) -> int:
        """How many tokens are learned."""
        return int((self.labels != IGNORED).sum())


def row(prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Row:
    """Returns the row of a prompt and its answers, which end with the token that ends them."""
    before = len(prompt) - 1
    tokens, part = list(prompt[:-1]), [0] * before
    positions, labels = list(range(before)), [IGNORED] * before
    for number, answer in enumerate(answers, 1):
        tokens += [prompt[-1], *answer[:-1]]
        part += [number] * len(answer)
        positions += range(before, before + len(answer))
        labels += answer
    return Row(*(np.array(each, np.int64) for each in (tokens, part, positions, labels)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, padded on the right.

    Attributes:
        inputs: Arguments of a decoder.
        labels: (rows, tokens).
    """

    inputs: dict[str, Tensor]
    labels: Tensor


def batch(
    rows: Sequence[Row], device: Any, states: Sequence[npt.NDArray[np.float32]] | None = None
) -> Batch:
    """Returns a batch of tokens; of `states`, (tokens, width) each, where those are given."""
    longest = max(len(each.tokens) for each in rows)

    def padded(arrays: Sequence[npt.NDArray[Any]], value: int) -> Tensor:
        shape = (len(arrays), longest, *arrays[0].shape[1:])
        filled = np.full(shape, value, arrays[0].dtype)
        for number, array in enumerate(arrays):
            filled[number, : len(array)] = array
        return torch.from_numpy(filled).to(device)

    part = padded([each.part for each in rows], -1)  # (rows, tokens)
    seen = (part[:, None] == 0) | (part[:, None] == part[:, :, None])  # (rows, tokens, seen)
    earlier = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    inputs = {
        "attention_mask": (seen & earlier)[:, None],  # (rows, 1, tokens, seen)
        "position_ids": padded([each.positions for each in rows], 0),
    }
    if states is None:
        inputs["input_ids"] = padded([each.tokens for each in rows], 0)
    else:
        inputs["inputs_embeds"] = padded(states, 0)
    return Batch(inputs, padded([each.labels for each in rows], IGNORED))


def batches(
    rows: Sequence[Row], size: int, generator: np.random.Generator | None = None
) -> list[Integers]:
    """Returns the numbers of `size` rows of about one length, batch by batch.

    Shuffled by `generator`, which gives the same batches whatever is trained; else the shortest
    come first.
    """
    lengths = np.array([len(each.tokens) for each in rows], np.float64)
    noise = 0.0 if generator is None else generator.uniform(0, lengths.mean() / 4, len(rows))
    order = np.argsort(lengths + noise, kind="stable")
    found = [order[k : k + size] for k in range(0, len(order), size)]
    if generator is not None:
        generator.shuffle(found)  # a list is shuffled in place
    return found
