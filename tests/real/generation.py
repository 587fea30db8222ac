"""Graphs from onnxruntime-genai's model builder, and text from them.

The builder reads a checkpoint, not an exported graph. It packs q, k and v into one weight, calls
``self_attn`` ``attn``, moves the rotation into GroupQueryAttention and keeps every weight external.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import io
import json
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from tests.real.dequantised import layer_weight
from tests.real.workspace import Workspace, build_base, once

PROMPT = (1, 5, 17, 80, 33, 9)
_COUNT = 8
_SPECIAL = ("<unk>", "<s>", "</s>")
# The builder knows float16 with GroupQueryAttention for CUDA only; the graph runs on a CPU as well.
# Level 1 keeps activations in float32: by default they are rounded to int8 on CPUs.
_EXACT = "accuracy_level=1"
_SESSION = {"session.qdq_matmulnbits_accuracy_level": "1"}  # the same for DequantizeLinear
_EXACT_QDQ = json.dumps({"model": {"decoder": {"session_options": _SESSION}}})
FORMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fp32": ("fp32", "cpu", ()),
    "fp32-unpacked": ("fp32", "cpu", ("fuse_qkv=false",)),
    "fp32-packed-mlp": ("fp32", "cpu", ("fuse_mlp_gate_up=true",)),
    "fp32-shared": ("fp32", "cpu", ("shared_embeddings=true",)),
    "fp16": ("fp16", "cuda", ()),
    "int4": ("int4", "cpu", (_EXACT,)),
    "int4-asymmetric": ("int4", "cpu", (_EXACT, "is_symmetric=false")),
    "int4-unpacked": ("int4", "cpu", (_EXACT, "fuse_qkv=false")),
    "int4-rtn": ("int4", "cpu", (_EXACT, "algo_config=rtn")),
    "int4-qdq": ("int4", "cpu", ("use_qdq=true",)),
    "int4-embedding": ("int4", "cpu", (_EXACT, "op_types_to_quantize=MatMul/Gather")),
    "int8": ("int8", "cpu", (_EXACT,)),
}
"""Precision, execution provider and extra options, by the name that tests and folders use."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The prompt and what greedy search made of it."""

    tokens: list[int]
    logits: NDArray[np.float32]
    """Of the last token at each step, (steps, vocabulary)."""


def built(workspace: Workspace, form: str) -> Path:
    """Return the folder that the builder wrote for the case's base, with its ``model.onnx``."""
    return once(
        workspace.folder / f"generating-{form}",
        lambda folder: build(checkpoint(workspace), folder, form),
    )


def checkpoint(workspace: Workspace) -> Path:
    """Return the folder that the builder reads: the case's base and a tokenizer."""
    base = build_base(workspace.case)
    return once(workspace.folder / "generating", lambda folder: save_checkpoint(base, folder))


def save_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    """Save a checkpoint, and a tokenizer of one word a token, which the builder asks for."""
    model.save_pretrained(folder)
    words = [*_SPECIAL, *(f"t{number}" for number in range(3, model.config.vocab_size))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    unknown, first, last = _SPECIAL
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        bos_token=first,
        eos_token=last,
        pad_token=unknown,
    ).save_pretrained(folder)


def build(source: Path, folder: Path, form: str) -> None:
    """Do what ``python -m onnxruntime_genai.models.builder`` does, but for its 4 s of imports."""
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    precision, provider, options = FORMS[form]
    cache = str(folder.with_name(f"{folder.name}-cache"))
    settings = (None, str(source), str(folder), precision, provider, cache)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        create_model(*settings, **parse_extra_options(*settings, list(options)))


class Generating:
    """A folder's model in onnxruntime-genai, on the CPU whatever the folder was built for."""

    def __init__(self, folder: Path, **adapters: Path) -> None:
        """Load it, and the .onnx_adapter files that it is to know by these names."""
        config = onnxruntime_genai.Config(str(folder))
        config.clear_providers()
        config.overlay(_EXACT_QDQ)
        self._model = onnxruntime_genai.Model(config)
        self._adapters = onnxruntime_genai.Adapters(self._model)
        for name, file in adapters.items():
            self._adapters.load(str(file), name)

    def generator(self, rows: int, length: int, adapter: str | None, **search: Any) -> Any:
        """Return a greedy Generator of ``_COUNT`` tokens, nothing appended yet."""
        settings = onnxruntime_genai.GeneratorParams(self._model)
        settings.set_search_options(
            max_length=length + _COUNT, batch_size=rows, do_sample=False, **search
        )
        generator = onnxruntime_genai.Generator(self._model, settings)
        if adapter is not None:  # before the prompt, whose keys and values are kept
            generator.set_active_adapter(self._adapters, adapter)
        return generator

    def generate(
        self, prompt: Sequence[int] = PROMPT, adapter: str | None = None, *, pieces: int = 1
    ) -> Generated:
        """Continue the prompt, which is given in this many pieces."""
        generator = self.generator(1, len(prompt), adapter)
        for piece in np.array_split(np.array(prompt, np.int32), pieces):
            generator.append_tokens(piece[None])
        logits = []
        while not generator.is_done():
            logits.append(np.array(generator.get_logits(), np.float32).reshape(-1))
            generator.generate_next_token()
        tokens = [int(token) for token in generator.get_sequence(0)]
        if len(tokens) < len(prompt) + len(logits):  # it ends without saying that it does
            tokens.append(int(logits[-1].argmax()))
        return Generated(tokens, np.stack(logits))


def generate(folder: Path) -> Generated:
    """Continue the prompt with onnxruntime-genai."""
    return Generating(folder).generate()


def torch_generate(model: PreTrainedModel, prompt: Sequence[int] = PROMPT) -> Generated:
    """Continue the prompt with torch, the whole sequence anew at each step."""
    tokens = list(prompt)
    logits: list[NDArray[np.float32]] = []
    while len(logits) < _COUNT and tokens[-1] != model.config.eos_token_id:
        ids = torch.tensor([tokens])
        with torch.no_grad():
            result = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        logits.append(result.logits[0, -1].float().numpy())
        tokens.append(int(logits[-1].argmax()))
    return Generated(tokens, np.stack(logits))


def rounded_layers(path: Path, config: PretrainedConfig) -> dict[str, torch.Tensor]:
    """Return each layer's weight [out, in] as a built graph uses it, by transformers' names."""
    width, per_head = config.hidden_size, config.hidden_size // config.num_attention_heads
    small = config.num_key_value_heads * per_head
    weights = {"lm_head": layer_weight(path, "logits", width)}
    for number in range(config.num_hidden_layers):
        ours, theirs = f"model.layers.{number}", f"/model/layers.{number}"
        packed = layer_weight(path, f"{theirs}/attn/qkv_proj/MatMul/output_0", width)
        for name, part in zip("qkv", np.split(packed, [width, width + small]), strict=True):
            weights[f"{ours}.self_attn.{name}_proj"] = part
        output = f"{theirs}/attn/o_proj/MatMul/output_0"
        weights[f"{ours}.self_attn.o_proj"] = layer_weight(path, output, width)
        for name in ("gate_proj", "up_proj", "down_proj"):
            fed = config.intermediate_size if name == "down_proj" else width
            output = f"{theirs}/mlp/{name}/MatMul/output_0"
            weights[f"{ours}.mlp.{name}"] = layer_weight(path, output, fed)
    return {module: torch.from_numpy(weight) for module, weight in weights.items()}
