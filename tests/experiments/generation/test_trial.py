"""A trial on a toy: scores, ids and margins, and not a word."""

import json
import math
from pathlib import Path

import pytest

from experiments.causal.methods import Fourier, Lora, Method
from experiments.causal.toys import byte_tokenizer
from experiments.generation.e2e import Meaning
from experiments.generation.trial import GenerationTrial, judged
from experiments.trial import Context

pytestmark = pytest.mark.real


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "e2e").mkdir()
    for name in ("devset", "testset_w_refs"):
        lines = [f'"name[{"ab" * k}], area[x]","A place, {k}."' for k in range(20)]
        text = "\n".join(["mr,ref", *lines]) + "\n"
        (tmp_path / "e2e" / f"{name}.csv").write_text(text)
    return Context(tmp_path, tmp_path / "shared", tmp_path, "cpu", lambda: None)


def trial_of(method: Method | None, rate: float) -> GenerationTrial:
    """Return a small trial that reports."""
    return GenerationTrial(
        model="toy", method=method, trained_layers=1, rate=rate, seed=1,
        epochs=0 if method is None else 1, batch=2, together=2, references=None,
        precision="float32", decay=0.0, smoothing=0.0, trained_on="devset", meanings=6,
        report=True, test_rows=3, limit=5, serve=True,
    )  # fmt: skip


@pytest.mark.parametrize("method", [None, Fourier(60, 300.0)])
def test_it_reports_numbers_and_ids_alone(method: Method | None, context: Context) -> None:
    result = trial_of(method, 0.1).run(context)

    report = result["report"]
    assert len(report["ids"]) == len(report["of_each"]["tokens"]) == 3
    assert report["test_meanings"] == 20
    assert result["onnxruntime"]["runtime"] == "onnxruntime-genai"
    assert result["onnxruntime"]["differing"] == []
    assert result["onnxruntime"]["bleu"] == report["bleu"]
    assert (method is None) == ("history" not in result)
    assert _strings(json.loads(json.dumps(result))) == ["onnxruntime-genai"]


def test_a_fresh_seed_that_diverged_is_a_result(context: Context) -> None:
    result = trial_of(Lora(2, 4.0), math.inf).run(context)

    assert result["diverged"] == 1
    assert "report" not in result
    json.dumps(result, allow_nan=False)


def test_an_answer_may_be_empty() -> None:
    meaning = Meaning(0, "name[A]", ("A pub.",), (0,))
    tokenizer = byte_tokenizer()

    found = judged([[], [tokenizer.eos_token_id]], [meaning, meaning], tokenizer)

    assert found["ended"] == 1
    assert found["of_each"]["tokens"] == [0, 1]


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []
