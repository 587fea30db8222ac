"""Greedy search in torch, with keys and values kept, and how sure it was of each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

TOGETHER = 32
"""Prompts of a batch at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be continued.

    Attributes:
        prompts: Tokens of each.
        limit: Tokens of an answer at most.
        end: The token that ends one.
    """

    prompts: Sequence[list[int]]
    limit: int
    end: int

    def of_one_length(self) -> Iterator[list[int]]:
        """Gives the numbers of prompts that are equally long: batches that need no padding."""
        lengths = [len(prompt) for prompt in self.prompts]
        for length in sorted(set(lengths)):
            alike = [number for number, found in enumerate(lengths) if found == length]
            for first in range(0, len(alike), TOGETHER):
                yield alike[first : first + TOGETHER]


@dataclass(slots=True)
class Said:
    """An answer.

    Attributes:
        tokens: With the one that ends it, if it came to that.
        margins: Of each token, by how much its logit leads the next.
    """

    tokens: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)


@torch.no_grad()
def greedy(model: Any, asked: Asked) -> list[Said]:
    """Returns the likeliest next tokens of each prompt, up to the end or the limit."""
    model.eval()
    device = next(model.parameters()).device
    found = [Said() for _ in asked.prompts]
    for chosen in asked.of_one_length():
        tokens = torch.tensor([asked.prompts[number] for number in chosen], device=device)
        open_, kept = set(chosen), None
        for _ in range(asked.limit):
            answered = model(
                input_ids=tokens, past_key_values=kept, use_cache=True, logits_to_keep=1
            )
            kept = answered.past_key_values
            best = answered.logits[:, -1].float().topk(2)  # (rows, 2)
            tokens = best.indices[:, :1]
            leads = (best.values[:, 0] - best.values[:, 1]).tolist()
            for number, token, lead in zip(chosen, tokens[:, 0].tolist(), leads, strict=True):
                if number in open_:
                    found[number].tokens.append(token)
                    found[number].margins.append(lead)
                    if token == asked.end:
                        open_.remove(number)
            if not open_:
                break
    return found
