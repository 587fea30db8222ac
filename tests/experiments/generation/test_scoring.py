"""Scores are the peers' own, of several references each."""

import numpy as np
import pytest
import sacrebleu
from nltk.translate.nist_score import corpus_nist

from experiments.generation.scoring import bleu, nist, scores

_SAID = ["The Mill is a pub by the river .", "Alimentum serves cheap food", "Cotto is near"]
_KNOWN = [
    ["The Mill is a pub near the river.", "By the river there is a pub, The Mill."],
    ["Alimentum serves cheap food"],
    ["Cotto is near the Crowne Plaza.", "You find Cotto there.", "Near the Plaza is Cotto"],
]


def test_bleu_is_sacrebleus_of_the_corpus() -> None:
    most = max(map(len, _KNOWN))
    streams = [[known[k] if k < len(known) else None for known in _KNOWN] for k in range(most)]

    expected = sacrebleu.corpus_bleu(_SAID, streams, lowercase=True)  # type: ignore[arg-type]  # it takes None for a reference that is not there

    assert scores(_SAID, _KNOWN)["bleu"] == pytest.approx(expected.score, abs=1e-9)


def test_counts_of_some_sentences_are_their_bleu() -> None:
    """So the page can draw sentences with replacement."""
    counts = scores(_SAID, _KNOWN)["of_each"]["bleu_counts"]

    assert bleu(counts[:2]) == pytest.approx(scores(_SAID[:2], _KNOWN[:2])["bleu"], abs=1e-9)
    assert bleu([counts[1]]) == pytest.approx(100.0)


def test_the_best_reference_counts() -> None:
    found = scores(_SAID, _KNOWN)

    alone = scores([_SAID[1]], [[*_KNOWN[0], *_KNOWN[1]]])
    assert alone["rouge_l"] == pytest.approx(1.0)
    assert found["rouge_l"] == pytest.approx(np.mean(found["of_each"]["rouge_l"]), abs=1e-6)


def test_nist_is_nltks_of_lower_case_words_and_marks_up_to_five_together() -> None:
    said = ["The Mill is a pub, really.", "It is a bar"]
    known = [
        ["the Mill is a pub, too.", "The mill is a pub."],
        ["It is a bar.", "THE MILL IS A BAR"],
    ]
    words = [
        ["the", "mill", "is", "a", "pub", ",", "really", "."],
        ["it", "is", "a", "bar"],
    ]
    theirs = [
        [
            ["the", "mill", "is", "a", "pub", ",", "too", "."],
            ["the", "mill", "is", "a", "pub", "."],
        ],
        [["it", "is", "a", "bar", "."], ["the", "mill", "is", "a", "bar"]],
    ]

    expected = {n: corpus_nist(theirs, words, n) for n in (4, 5, 6)}

    assert len(set(expected.values())) == 3
    assert nist(said, known) == pytest.approx(expected[5], abs=1e-12)


def test_silence_scores_nothing() -> None:
    found = scores(["", ""], [["A pub."], ["A bar.", "It is a bar."]])

    assert (found["bleu"], found["nist"], found["rouge_l"]) == (0.0, 0.0, 0.0)
    assert nist(["one", ""], [["one"], ["two"]]) > 0  # no n-gram of two words
