"""How well predictions agree with labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def predictions(logits: Numbers) -> Numbers:
    """Returns the class of each row of logits (rows, classes), or the score of (rows, 1)."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(1).astype(np.float64)


def score(metric: str, predicted: Numbers, labels: Numbers) -> float:
    """Returns "accuracy", "f1", "matthews", "pearson" or "spearman" of predictions, both (rows,).

    A correlation of predictions that are all equal is 0.
    """
    if metric == "accuracy":
        return float((predicted == labels).mean())
    if metric in {"pearson", "spearman"}:
        from scipy import stats

        if predicted.max() == predicted.min():
            return 0.0
        return float(getattr(stats, f"{metric}r")(predicted, labels).statistic)
    from sklearn import metrics

    found = {"f1": metrics.f1_score, "matthews": metrics.matthews_corrcoef}[metric]
    return float(found(labels, predicted))


def others(classes: int) -> tuple[str, ...]:
    """Returns the metrics that are given beside the first."""
    return ("spearman",) if classes == 0 else ("f1",)
