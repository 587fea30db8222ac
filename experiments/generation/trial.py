"""One training of a decoder on E2E, and what it says then, in torch and in ONNX Runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from experiments.causal.decoding import Asked, greedy
from experiments.causal.learning import Taught, learned, whole
from experiments.causal.methods import Method
from experiments.causal.models import new_model, new_tokenizer
from experiments.causal.serving import compared, served
from experiments.causal.training import Recipe, Set, loss_of
from experiments.generation.e2e import Meaning, Splits, prompt, rows, splits
from experiments.generation.scoring import scores
from experiments.trial import Context, Json

_TOLD = 4  # references of a test meaning whose loss is taken


@dataclass(frozen=True, slots=True)
class GenerationTrial:
    """A method at a rate, trained on E2E.

    Attributes:
        model: A name for models.located.
        method: What is trained; None for the model as it is, with no epochs.
        trained_layers: So many of the decoder's last layers are adapted, query and value of each;
            those below are computed once. 0: all, and nothing is computed beforehand.
        rate: Of what is trained.
        seed: Of batches and entries.
        epochs: How many.
        batch: Rows of a step.
        together: References of a row.
        references: Of a meaning that train; None for all.
        precision: "float32" or "bfloat16", of products in training.
        decay: Of weights.
        smoothing: Of labels.
        trained_on: "devset" or "trainset".
        meanings: Of the training split that are used; None for all.
        report: Whether the test split is answered. Trials that choose a rate never see it.
        test_rows: Meanings of the test split that are answered then; None for all.
        limit: Tokens of an answer at most.
        serve: Whether ONNX Runtime answers them too.
    """

    model: str
    method: Method | None
    trained_layers: int
    rate: float
    seed: int
    epochs: int
    batch: int
    together: int
    references: int | None
    precision: str
    decay: float
    smoothing: float
    trained_on: Literal["devset", "trainset"]
    meanings: int | None
    report: bool
    test_rows: int | None
    limit: int
    serve: bool

    @property
    def label(self) -> str:
        """Model, method, rate, seed."""
        if self.method is None:
            return f"{self.model} untuned"
        return f"{self.model} {self.method.label} rate={self.rate:g} seed={self.seed}"

    @property
    def work(self) -> str:
        """Equal models, parts of them, amounts of data, and what comes after training."""
        kind = "untuned" if self.method is None else self.method.kind
        part = f"top {self.trained_layers}" if self.trained_layers else "all layers"
        served = "served" if self.serve else "not served"
        after = f"{self.test_rows} answers, {served}" if self.report else "no answers"
        return f"{self.model} {part} {self.meanings} meanings {kind} {self.precision} {after}"

    @property
    def steps(self) -> int:
        """Epochs, and the answers of each runtime."""
        return self.epochs + self.report + self.serve

    @property
    def guess(self) -> float:
        """Of SmolLM2 0.08 s a reference and epoch; answers take as long as an epoch."""
        count = 500 if self.meanings is None else self.meanings
        return 0.08 * count * (self.references or 8) * (3 if self.trained_layers == 0 else 1) + 10

    def run(self, context: Context) -> Json:
        """Returns history and sizes; with `report` scores and counts, and ONNX Runtime's part.

        A training that diverged in its first epoch has nothing to report: "diverged" is 1.
        """
        found = splits(context.data, self.trained_on, self.meanings, self.test_rows)
        tokenizer = new_tokenizer(self.model, context.shared)
        result: Json = {"meanings": len(found.train), "choosing": len(found.choose)}
        if self.method is None:
            model = new_model(self.model, context.shared).to(context.device)
            return result | self._reported(model, None, found, tokenizer, context)
        taught = Taught(self.model, self.method, self.seed, self.trained_layers)
        sets = [
            rows(tokenizer, each, self.together, self.references)
            for each in (found.train, found.choose)
        ]
        history, values = learned(taught, self._recipe(), sets[0], sets[1], context)
        result |= history
        if not self.report or result.get("diverged") == 1:
            return result
        model, file = whole(taught, values, context)
        result["file_bytes"] = file.stat().st_size
        return result | self._reported(model, file, found, tokenizer, context)

    def _recipe(self) -> Recipe:
        return Recipe(
            self.rate, self.epochs, self.batch, self.seed, self.precision, self.decay,
            self.smoothing,
        )  # fmt: skip

    def _reported(
        self,
        model: nn.Module,
        file: Path | None,
        found: Splits,
        tokenizer: Any,
        context: Context,
    ) -> Json:
        meanings = found.report
        told = Set(rows(tokenizer, meanings, self.together, _TOLD), None)
        prompts = [prompt(tokenizer, meaning) for meaning in meanings]
        asked = Asked(prompts, self.limit, tokenizer.eos_token_id)
        start = time.perf_counter()
        said = greedy(model, asked)
        seconds = round(time.perf_counter() - start, 1)
        ids = [meaning.number for meaning in meanings]
        result: Json = {
            "report": {
                "ids": ids,
                "test_meanings": found.test,
                "loss": loss_of(model, told),
                "seconds": seconds,
                **judged([each.tokens for each in said], meanings, tokenizer),
            }
        }
        context.step()
        if self.serve:
            ours = served(file, self.model, asked, said, context.shared)
            result["onnxruntime"] = ours.numbers() | compared(ids, said, ours.tokens)
            if ours.generated:
                result["onnxruntime"] |= judged(ours.tokens, meanings, tokenizer)
            context.step()
        return result


def judged(said: list[list[int]], meanings: list[Meaning], tokenizer: Any) -> Json:
    """Returns scores, and of each answer how many tokens it has; never what it says."""
    texts = [tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in said]
    found = scores(texts, [meaning.references for meaning in meanings])
    found["of_each"]["tokens"] = [len(tokens) for tokens in said]
    ends = sum(tokens[-1:] == [tokenizer.eos_token_id] for tokens in said)
    return found | {"ended": ends}
