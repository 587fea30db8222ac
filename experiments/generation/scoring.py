"""How well sentences agree with what people said: BLEU, NIST and ROUGE-L.

METEOR and CIDEr are left out. Text is compared in lower case; BLEU's and NIST's words are those of
mteval-v13a.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.trial import Json

_NIST = 5  # words of the longest n-gram, as mteval counts them


def scores(said: Sequence[str], references: Sequence[Sequence[str]]) -> Json:
    """Returns "bleu" 0..100, "nist", "rouge_l" 0..1, and the parts of a sum over sentences.

    Of ROUGE-L each sentence's F-measure against its best reference. Of BLEU each sentence's counts:
    n-grams found (4), n-grams said (4), its length, and that of the nearest reference; their sums
    give the corpus's BLEU.
    """
    counts = [_counts(text, list(known)) for text, known in zip(said, references, strict=True)]
    rouge = [_rouge(text, known) for text, known in zip(said, references, strict=True)]
    return {
        "bleu": bleu(counts),
        "nist": nist(said, references),
        "rouge_l": float(np.mean(rouge)),
        "of_each": {"bleu_counts": counts, "rouge_l": [round(value, 6) for value in rouge]},
    }


def bleu(counts: npt.ArrayLike) -> float:
    """Returns sacrebleu's BLEU of sentences with these counts, (sentences, 10)."""
    from sacrebleu.metrics.bleu import BLEU

    total = np.sum(np.array(counts), 0).tolist()
    found = BLEU.compute_bleu(
        correct=total[:4], total=total[4:8], sys_len=total[8], ref_len=total[9], smooth_method="exp"
    )
    return float(found.score)


def nist(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns nltk's NIST of n-grams up to 5, fewer where no sentence is that long."""
    from nltk.translate.nist_score import corpus_nist

    ours = [_words(text) for text in said]
    longest = min(_NIST, max(map(len, ours)))
    theirs = [[_words(text) for text in known] for known in references]
    return float(corpus_nist(theirs, ours, longest)) if longest else 0.0


def _counts(said: str, references: list[str]) -> list[int]:
    from sacrebleu.metrics.bleu import BLEU

    found = BLEU(lowercase=True, effective_order=True).sentence_score(said, references)
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def _rouge(said: str, references: Sequence[str]) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    found: Any = RougeScorer(["rougeL"]).score_multi(list(references), said)
    return float(found["rougeL"].fmeasure)


def _words(text: str) -> list[str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    words: list[str] = Tokenizer13a()(text.lower()).split()
    return words
