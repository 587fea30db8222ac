"""Sentence pairs as token ids: MRPC's own rows where there is MRPC."""

from __future__ import annotations

import csv
import itertools
import zlib
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification

# No licence is stated for MRPC, so no copy of it may lie in this repository.
MRPC = Path(__file__).parents[5] / "shared" / "data" / "mrpc" / "train.tsv"
VOCABULARY, LENGTH = 512, 32
_OWN = (
    ("1", "The meeting was moved to Friday .", "They shifted the meeting to Friday ."),
    ("0", "The meeting was moved to Friday .", "The meeting room has a new door ."),
    ("1", "Prices rose sharply in March .", "March saw a steep increase in prices ."),
    ("0", "Prices rose sharply in March .", "In March the roses are not yet out ."),
    ("1", "She closed the shop for good .", "She shut the store permanently ."),
    ("0", "She closed the shop for good .", "The shop sells good clothes ."),
    ("1", "The court rejected his appeal .", "His appeal was turned down by the court ."),
)


class Pairs(Dataset[dict[str, Any]]):
    """Rows for BERT, of lengths that differ."""

    def __init__(self, count: int) -> None:
        self.rows = [_encoded(*row) for row in _pairs(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def bert(dropout: float = 0.1) -> BertForSequenceClassification:
    """Return a small BERT, whose base is the same each time but for its dropout."""
    import torch

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def _pairs(count: int) -> list[tuple[str, str, str]]:
    if not MRPC.exists():
        return [_OWN[k % len(_OWN)] for k in range(count)]
    with MRPC.open(encoding="utf-8-sig", newline="") as lines:
        read = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            (row["Quality"], row["#1 String"], row["#2 String"])
            for row in itertools.islice(read, count)
        ]


def _encoded(label: str, first: str, second: str) -> dict[str, Any]:
    """Return ids by a hash of each word, so that no tokenizer is needed."""
    half = LENGTH // 2 - 2
    ids = [1, *_words(first)[:half], 2, *_words(second)[:half], 2]
    used = [1] * len(ids) + [0] * (LENGTH - len(ids))
    return {
        "input_ids": ids + [0] * (LENGTH - len(ids)),
        "attention_mask": used,
        "labels": int(label),
    }


def _words(sentence: str) -> list[int]:
    return [4 + zlib.crc32(word.encode()) % (VOCABULARY - 4) for word in sentence.split()]
