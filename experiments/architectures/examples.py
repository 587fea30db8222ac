"""Real rows as each sort of model reads them: E2E's restaurants, and images.

Encoders tell by a person's sentence in which of two areas a restaurant is. Decoders continue the
attributes and the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from experiments.architectures.models import Origin, Sort, Weights, language_source
from experiments.architectures.shapes import Shape
from experiments.fixed import SEED
from experiments.generation import e2e
from experiments.generation.e2e import Meaning
from experiments.images.data import Images, values
from experiments.images.data import splits as image_splits
from experiments.pretrained import pretrained

IGNORED = -100
"""The label of what does not count: padding."""

_Counts = tuple[int, int, int]
_AREAS = ("riverside", "city centre")


@dataclass(frozen=True, slots=True)
class _Row:
    """A restaurant: what is to be said, a person's sentence, and the number of its area."""

    id: int
    asked: str
    said: str
    area: int


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows as a model reads them.

    Attributes:
        inputs: Name of an input -> (rows, ...).
        labels: (rows,) classes, or (rows, tokens) the token after each, IGNORED at padding.
        ids: Where each row stood in its file, from 0.
        axes: The axes of every input that may have any size, by number.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: list[int]
    axes: dict[int, str]

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Returns some rows."""
        chosen = torch.from_numpy(rows)
        inputs = {name: value[chosen] for name, value in self.inputs.items()}
        return Examples(inputs, self.labels[chosen], [self.ids[k] for k in rows], self.axes)


@dataclass(frozen=True, slots=True)
class Splits:
    """What trains, what chooses the epoch, and what reports."""

    train: Examples
    choose: Examples
    report: Examples


def splits(
    sort: Sort, origin: Origin, data: Path, images: str, rows: int, answered: int, size: int
) -> Splits:
    """Returns real examples of a sort: of E2E, whose devset trains, or of a set of images.

    E2E is divided as e2e.splits does, so that what chooses says nothing that has trained.

    Args:
        sort: Of model.
        origin: Of its weights: those with pretrained ones have their own tokens.
        data: The folder of the data sets.
        images: The set of images.
        rows: That train.
        answered: That choose, and that report.
        size: Tokens of a row, all padded to it; of images their side.

    Raises:
        SystemExit: A set is missing, or has fewer rows than are asked for.
    """
    counts = (rows, answered, answered)
    if sort == "image":
        parts = _pictures(data, images, counts, size, 3 if isinstance(origin, Weights) else 1)
    else:
        parts = _restaurants(data, sort, counts, origin, size)
    for part, count, use in zip(parts, counts, ("train", "choose", "report"), strict=True):
        if len(part) < count:
            place = images if sort == "image" else f"E2E, {sort}"
            message = f"{place}: {len(part)} rows can {use}, not {count}: lower rows or answered"
            raise SystemExit(message)
    return Splits(*parts)


def _pictures(data: Path, images: str, counts: _Counts, side: int, channels: int) -> list[Examples]:
    rows, answered, _ = counts
    drawn = max(rows + rows // 9 + 1, 10 * answered)  # a tenth of them chooses
    found = image_splits(images, data, (), drawn, answered, side=side)
    parts = zip((found.train, found.choose, found.report), counts, strict=True)
    return [_images(part.drawn(count), side, channels) for part, count in parts]


def _restaurants(
    data: Path, sort: Sort, counts: _Counts, origin: Origin, length: int
) -> list[Examples]:
    found = e2e.splits(data, "devset", None, None)
    make = _sentences if sort == "encoder" else _texts
    parts = zip((found.train, found.choose, found.report), counts, strict=True)
    return [make(_drawn(part, sort, count), origin, length) for part, count in parts]


def _images(images: Images, side: int, channels: int) -> Examples:
    pixels = values(images, np.arange(len(images)), side, channels)
    labels = torch.from_numpy(images.labels)
    return Examples({"pixel_values": pixels}, labels, images.ids.tolist(), {0: "batch"})


def _sentences(rows: Sequence[_Row], origin: Origin, length: int) -> Examples:
    """Returns sentences in word pieces, MiniLM's for random weights, labelled by the area."""
    from transformers import AutoTokenizer

    name = origin.name if isinstance(origin, Weights) else "minilm"
    tokenizer = pretrained(AutoTokenizer, name)
    found = tokenizer([row.said for row in rows], truncation=True, max_length=length)
    inputs = _padded(found["input_ids"], int(tokenizer.pad_token_id), length)
    labels = torch.tensor([row.area for row in rows])
    return Examples(inputs, labels, [row.id for row in rows], {0: "batch", 1: "tokens"})


def _texts(rows: Sequence[_Row], origin: Origin, length: int) -> Examples:
    """Returns texts to be continued: each token's label is the next one."""
    texts = [f"{row.asked}\n{row.said}" for row in rows]
    if isinstance(origin, Shape):
        found = [[1, *(3 + byte for byte in text.encode()), 2][:length] for text in texts]
        pad = 0
    else:
        tokenizer = _tokenizer(origin.name)
        found = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
        found = [tokens[:length] for tokens in found]
        pad = int(tokenizer.pad_token_id or 0)
    inputs = _padded(found, pad, length)
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row, tokens in enumerate(found):
        labels[row, : len(tokens) - 1] = torch.tensor(tokens[1:])
    return Examples(inputs, labels, [row.id for row in rows], {0: "batch", 1: "tokens"})


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    place, options = language_source(name)
    return pretrained(AutoTokenizer, place, **options)


def _padded(found: Sequence[Sequence[int]], pad: int, length: int) -> dict[str, Tensor]:
    tokens = torch.full((len(found), length), pad)
    mask = torch.zeros_like(tokens)
    for row, given in enumerate(found):
        tokens[row, : len(given)] = torch.tensor(given)
        mask[row, : len(given)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def _drawn(meanings: Sequence[Meaning], sort: Sort, count: int) -> list[_Row]:
    """Returns `count` rows, the same ones at each call; for encoders of one of two areas."""
    rows = [
        _Row(line, meaning.text, said, _area(meaning.text))
        for meaning in meanings
        for line, said in zip(meaning.lines, meaning.references, strict=True)
    ]
    if sort == "encoder":
        rows = [row for row in rows if row.area != IGNORED]
    chosen = np.random.default_rng(SEED).permutation(len(rows))[:count]
    return [rows[place] for place in np.sort(chosen)]


def _area(asked: str) -> int:
    found = [number for number, area in enumerate(_AREAS) if f"area[{area}]" in asked]
    return found[0] if found else IGNORED
