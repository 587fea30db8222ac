"""What a task gives without any training: its labels, its majority class, the base's own cosine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from experiments.text.models import bucketed, new_model, padded, padding, tokens
from experiments.text.scoring import Numbers, others, score
from experiments.text.tasks import TASKS, Rows, Task, splits
from experiments.trial import Context, Json

_SIMILARITY = ("mrpc", "stsb")
"""Tasks in which a pair's label is a likeness, so that a cosine can answer."""


@dataclass(frozen=True, slots=True)
class Untuned:
    """The baselines of one task.

    Attributes:
        task: A name in tasks.TASKS.
        model: A name for models.located.
        length: Tokens of a sentence at most.
        rows: Of train that are used; as in TextTrial, which decides the splits.
    """

    task: str
    model: str
    length: int
    rows: int | None

    @property
    def label(self) -> str:
        """Model and task."""
        return f"{self.model} {self.task} untuned"

    @property
    def work(self) -> str:
        """The label: no two are alike."""
        return self.label

    @property
    def steps(self) -> int:
        """One."""
        return 1

    @property
    def guess(self) -> float:
        """Reading the files, and for pairs the encoder once for each sentence."""
        return 60.0 if self.task in _SIMILARITY else 5.0

    def run(self, context: Context) -> Json:
        """Returns what baselines reach on the reporting split, and of scores the split's own.

        "majority": of always saying train's most frequent class. "cosine": of the cosine of the
        two sentences' embeddings; where classes are asked for, above the "threshold" that is best
        on the choosing split.
        """
        task = TASKS[self.task]
        found = splits(task, context.data, self.rows)
        labels = found.report.labels
        result: Json = {"rows": len(labels)}
        if not task.classes:
            result["labels"] = [float(label) for label in labels]
        if task.classes:
            most = np.bincount(found.train.labels.astype(np.int64)).argmax()
            result["majority"] = _scores(task, np.full(len(labels), float(most)), labels)
        if self.task in _SIMILARITY:
            model = new_model(self.model, task, seed=0).to(context.device)
            chosen, reported = (self._cosines(model, rows) for rows in (found.choose, found.report))
            if task.classes:
                result["threshold"] = threshold(chosen, found.choose.labels)
                reported = (reported > result["threshold"]).astype(np.float64)
            result["cosine"] = _scores(task, reported, labels)
        context.step()
        return result

    def _cosines(self, model: nn.Module, rows: Rows) -> Numbers:
        assert rows.second is not None
        first, second = (
            self._embedded(model, Rows(sentences, None, rows.labels, rows.ids))
            for sentences in (rows.first, rows.second)
        )
        return np.asarray((first * second).sum(1))

    @torch.no_grad()
    def _embedded(self, model: nn.Module, rows: Rows) -> Numbers:
        """Returns the mean of the last layer's states, of norm 1: (rows, width)."""
        examples = tokens(self.model, rows, self.length)
        device = next(model.parameters()).device
        found: dict[int, Numbers] = {}
        for chosen in bucketed(examples, 64):
            batch = padded([examples[row] for row in chosen], padding(model))
            given = {name: value.to(device) for name, value in batch.items()}
            states: Tensor = model.base_model(**given).last_hidden_state  # type: ignore[operator]  # a module
            mask = given["attention_mask"][:, :, None]  # (rows, tokens, 1)
            means = (states * mask).sum(1) / mask.sum(1)  # (rows, width)
            normed = nn.functional.normalize(means).double().cpu().numpy()
            found |= dict(zip(chosen.tolist(), normed, strict=True))
        return np.stack([found[row] for row in range(len(rows))])


def threshold(scores: Numbers, labels: Numbers) -> float:
    """Returns the score above which class 1 is said with the highest accuracy; the lowest such.

    It lies midway between two neighbouring scores, or below or above all.
    """
    ordered = np.sort(scores)
    middles = np.concatenate(
        [[ordered[0] - 1], (ordered[:-1] + ordered[1:]) / 2, [ordered[-1] + 1]]
    )
    right = ((scores > middles[:, None]) == (labels == 1)).mean(1)  # (thresholds,)
    return float(middles[right.argmax()])


def _scores(task: Task, predicted: Numbers, labels: Numbers) -> Json:
    names = (task.metric, *others(task.classes))
    return {name: score(name, predicted, labels) for name in names}
