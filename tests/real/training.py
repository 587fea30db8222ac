"""A short but real training: sentence pairs, cosine of the embeddings against the label.

A trained adapter differs from a random one: its coefficients start at zero, grow unevenly and
leave many entries small.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import csv
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoTokenizer

from tests.real.bases import MINILM

# No licence is stated for MRPC, so no copy of it may lie in this repository.
_MRPC = Path(__file__).parents[3] / "shared" / "data" / "mrpc" / "train.tsv"
_STEPS = 24
_ROWS = 8
# For checkouts without the shared data. The task is smaller, the training as real.
_OWN_PAIRS = (
    ("The meeting was moved to Friday.", "They shifted the meeting to Friday.", 1.0),
    ("The meeting was moved to Friday.", "The meeting room has a new door.", 0.0),
    ("Prices rose sharply in March.", "March saw a steep increase in prices.", 1.0),
    ("Prices rose sharply in March.", "In March the roses are not yet out.", 0.0),
    ("She closed the shop for good.", "She shut the store permanently.", 1.0),
    ("She closed the shop for good.", "The shop sells good clothes.", 0.0),
    ("The court rejected his appeal.", "His appeal was turned down by the court.", 1.0),
    ("The court rejected his appeal.", "The tennis court appeals to him.", 0.0),
)
Pair = tuple[str, str, float]


def sentence_pairs() -> list[Pair]:
    """Read paraphrases and near misses: MRPC's first pairs where there is MRPC."""
    if not _MRPC.exists():
        return list(_OWN_PAIRS)
    with _MRPC.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [(row[3], row[4], float(row[0])) for row, _ in zip(rows, range(64), strict=False)]


def train_on_pairs(model: PeftModel) -> None:
    """Train the adapter for a few dozen steps; raises where the loss does not fall."""
    pairs = sentence_pairs()
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=0.05, weight_decay=0.0)
    losses = []
    for step in range(_STEPS):
        batch = [pairs[(step * _ROWS + row) % len(pairs)] for row in range(_ROWS)]
        loss = loss_of(model, tokenizer, batch)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    third = _STEPS // 3
    if sum(losses[-third:]) >= sum(losses[:third]):
        raise AssertionError(f"the training did not lower its loss: {losses}")


def loss_of(model: torch.nn.Module, tokenizer: object, batch: list[Pair]) -> torch.Tensor:
    first, second, labels = zip(*batch, strict=True)
    tokens = tokenizer(  # type: ignore[operator]  # transformers has no type for "a tokenizer"
        [*first, *second], padding=True, truncation=True, max_length=40, return_tensors="pt"
    )
    states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None].float()
    embeddings = (states * mask).sum(1) / mask.sum(1)  # (2b, t, d) -> (2b, d)
    cosines = torch.cosine_similarity(*embeddings.chunk(2))  # 2 x (b, d) -> (b,)
    return torch.nn.functional.mse_loss(cosines, torch.tensor(labels))
