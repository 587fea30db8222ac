"""A small model with dropout and a head, and rows for it; the same in every process."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fourier_trainers.torch import FourierConfig, attach

WIDTH, VOCABULARY, LENGTH, ROWS = 16, 32, 6, 48


class Block(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.down(torch.tanh(self.up(x))))
        return x + y


class Classifier(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.Sequential(Block(dropout), Block(dropout))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.embedding(tokens)).mean(1))
        return logits


CONFIG = FourierConfig(
    target_modules=("up", "down"),
    n=40,
    alpha=20.0,
    gain=2.0,
    init="normal",
    modules_to_save=("head",),
    bias="targets",
)
TRAINED = {
    *(f"blocks.{k}.{m}.fourier.default.coefficients" for k in (0, 1) for m in ("up", "down")),
    *(f"blocks.{k}.{m}.bias" for k in (0, 1) for m in ("up", "down")),
    "head.weight",
    "head.bias",
}


def attached(dropout: float = 0.0, name: str = "default", *, base: int = 0) -> Classifier:
    """Return the attached model; `base` is the seed of its base."""
    torch.manual_seed(base)
    return attach(Classifier(dropout), CONFIG, name)


def rows() -> tuple[Tensor, Tensor]:
    """Return tokens and labels."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=generator)
    return tokens, (tokens.float().mean(1) > VOCABULARY / 2).long()


def batches(size: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all rows in their order, again and again."""
    tokens, labels = rows()
    while True:
        yield from zip(torch.split(tokens, size), torch.split(labels, size), strict=True)


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two trained states are one, to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
