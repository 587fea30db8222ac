"""Small torch modules whose layers end up where a converter may not look.

In the branches of an If, the body of a Loop, a function that the model defines; and the layers that
PEFT's FourierFT does not know: convolutions and embeddings.
"""
# ruff: noqa: TID251 -- torch is what the converter is compared with

from collections.abc import Callable

import torch
from torch import Tensor, nn

Inputs = dict[str, Tensor]


class Branches(nn.Module):
    """``torch.cond``: one layer has a bias to be known by, the other has not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.left = nn.Linear(16, 10)
        self.right = nn.Linear(16, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        states = torch.tanh(self.first(x))
        chosen = torch.cond(x.sum() > 0, self._left, self._right, (states,))
        return torch.as_tensor(chosen)

    def _left(self, states: Tensor) -> Tensor:
        return torch.tanh(self.left(states))

    def _right(self, states: Tensor) -> Tensor:
        return torch.sigmoid(self.right(states))


class ScriptedBranches(nn.Module):
    """A plain ``if``, which only a scripted module keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.left = nn.Linear(16, 10)
        self.right = nn.Linear(16, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        states = torch.tanh(self.first(x))
        if bool(x.sum() > 0):
            result = torch.tanh(self.left(states))
        else:
            result = torch.sigmoid(self.right(states))
        return result


class Loop(nn.Module):
    """One layer, applied as often as an input says."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.again = nn.Linear(16, 16)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        states = torch.tanh(self.first(x))
        for _ in range(int(count)):
            states = torch.tanh(self.again(states))
        result: Tensor = self.last(states)
        return result


class Block(nn.Module):
    """What is exported as a function and called twice, with other weights each time."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(12, 20)
        self.down = nn.Linear(20, 12, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(torch.tanh(self.up(x)))
        return result


class Blocks(nn.Module):
    """Two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.second = Block()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(torch.tanh(self.first(x)))
        return result


class Convolutions(nn.Module):
    """k x k, 1 x 1, in groups, transposed, and in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 12, 3, padding=1)
        self.point = nn.Conv2d(12, 16, 1, bias=False)
        self.grouped = nn.Conv2d(16, 12, 3, stride=2, groups=4)
        self.transposed = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.line = nn.Conv1d(6, 7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(torch.tanh(self.wide(x)))
        x = self.transposed(torch.tanh(self.grouped(x)))
        result: Tensor = self.line(torch.tanh(x.flatten(2)))
        return result


class Embeddings(nn.Module):
    """Two tables and a layer over both."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(23, 12, padding_idx=0)
        self.places = nn.Embedding(9, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        result: Tensor = self.head(torch.tanh(self.words(ids) + self.places(places)))
        return result


MODELS: dict[str, Callable[[], nn.Module]] = {
    "branches": Branches,
    "scripted-branches": ScriptedBranches,
    "loop": Loop,
    "blocks": Blocks,
    "convolutions": Convolutions,
    "embeddings": Embeddings,
}


def example_inputs(name: str) -> list[Inputs]:
    """Draw inputs that between them go every way through the model."""
    generator = torch.Generator().manual_seed(3)
    if name == "convolutions":
        return [{"x": torch.randn(2, 3, 10, 10, generator=generator)}]
    if name == "embeddings":
        ids = torch.randint(0, 23, (3, 7), generator=generator)
        return [{"ids": ids, "places": torch.arange(7).expand(3, 7).contiguous()}]
    x = torch.randn(3, 5, 12, generator=generator)
    if name == "loop":
        return [{"x": x, "count": torch.tensor(count)} for count in (3, 1)]
    return [{"x": x.abs()}, {"x": -x.abs()}]
