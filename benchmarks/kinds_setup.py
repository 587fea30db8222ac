"""Make what `graph_kinds.py` starts from, untimed: one base of each kind, adapters for them.

    python kinds_setup.py FOLDER [--tiny] [--n 1000]

FOLDER/<kind>/base.onnx is MiniLM, exported and then gone through ONNX Runtime's tools; the kinds
that begin with "genai" are a small Llama by onnxruntime-genai's builder. FOLDER/bert.fft and
FOLDER/llama.fft are for query and value, with fingerprints; <name>-plain.fft are the same without.
"""
# ruff: noqa: TID251 -- torch and PEFT make the bases and the adapters

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from minilm_peer import export
from minilm_setup import base_model
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers import optimizer
from peft import FourierFTConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import fourier_format
from fourier_converters.cli import main as convert
from fourier_format.fingerprint import without_fingerprints

GENAI: Final = {"genai-fp32": "fp32", "genai-int4": "int4"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    torch.manual_seed(0)
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said):
        warnings.simplefilter("ignore")
        bert = base_model(tiny=arguments.tiny)
        bert.save_pretrained(folder / "bert")
        for exporter in ("dynamo", "torchscript"):
            export(bert, _place(folder, exporter), exporter)
        for kind, (source, tool) in _TOOLS.items():
            tool(folder / source / "base.onnx", _place(folder, kind), bert.config)
        llama = _llama(tiny=arguments.tiny)
        save_llama(llama, folder / "llama")
        for kind, precision in GENAI.items():
            _build(folder / "llama", folder / kind, precision)
        _adapter(bert, folder, "bert", ["query", "value"], arguments.n)
        _adapter(llama, folder, "llama", ["q_proj", "v_proj"], arguments.n)


def _place(folder: Path, kind: str) -> Path:
    (folder / kind).mkdir()
    return folder / kind / "base.onnx"


def _adapter(model: Any, folder: Path, name: str, modules: list[str], n: int) -> None:
    config = FourierFTConfig(
        target_modules=modules, n_frequency=n, scaling=30.0, init_weights=False
    )
    get_peft_model(model, config).save_pretrained(folder / f"{name}-peft")
    path = folder / f"{name}.fft"
    arguments = [folder / f"{name}-peft", "--to", "fft", "--base", folder / name, "-o", path]
    if convert([*map(str, arguments), "--quiet"]) != 0:
        raise SystemExit(1)
    plain = without_fingerprints(fourier_format.load(path))
    fourier_format.save(plain, folder / f"{name}-plain.fft")


def _llama(*, tiny: bool) -> LlamaForCausalLM:
    width = 32 if tiny else 512
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97 if tiny else 4000,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2 if tiny else 8,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
        )
    )
    return model.eval()


def save_llama(model: LlamaForCausalLM, folder: Path) -> None:
    """Save the checkpoint, and a tokenizer of one word a token, which the builder asks for."""
    model.save_pretrained(folder)
    words = ["<unk>", "<s>", "</s>", *(f"t{number}" for number in range(3, model.vocab_size))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    unknown, first, last = words[:3]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unknown, bos_token=first, eos_token=last
    ).save_pretrained(folder)


def _build(checkpoint: Path, folder: Path, precision: str) -> None:
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    cache = str(folder.with_name(f"{folder.name}-cache"))
    settings = (None, str(checkpoint), str(folder), precision, "cpu", cache)
    with contextlib.redirect_stderr(io.StringIO()):
        create_model(*settings, **parse_extra_options(*settings, []))
    (folder / "model.onnx").rename(folder / "base.onnx")


def _fused(source: Path, target: Path, config: Any) -> None:
    """Pack q, k and v, fuse attention and norms, as `onnxruntime.transformers.optimizer` does."""
    heads, width = config.num_attention_heads, config.hidden_size
    model = optimizer.optimize_model(
        str(source), model_type="bert", num_heads=heads, hidden_size=width, opt_level=0
    )
    model.save_model_to_file(str(target))


def _saved(source: Path, target: Path, _: Any) -> None:
    """Save what ONNX Runtime makes of the graph when it opens it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(target)
    entry = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(entry, "base.onnx.data")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _int4(source: Path, target: Path, _: Any) -> None:
    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def _dynamic(source: Path, target: Path, _: Any) -> None:
    quantization.quantize_dynamic(
        source,
        target,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _qdq(source: Path, target: Path, _: Any, *, per_channel: bool) -> None:
    quantization.quantize_static(
        source,
        target,
        _Once(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=per_channel,
    )


class _Once(quantization.CalibrationDataReader):  # type: ignore[misc]  # no types
    """One batch of calibration data."""

    def __init__(self) -> None:
        ids = np.random.default_rng(0).integers(1, 90, (2, 16))
        self._batches = iter([{"input_ids": ids, "attention_mask": np.ones_like(ids)}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


_Tool = Callable[[Path, Path, Any], None]
_TOOLS: Final[dict[str, tuple[str, _Tool]]] = {
    "fused": ("torchscript", _fused),
    "saved": ("dynamo", _saved),
    "int4": ("dynamo", _int4),
    "dynamic-int8": ("dynamo", _dynamic),
    "qdq-int8": ("dynamo", partial(_qdq, per_channel=True)),
}
"""Kind -> the exporter's graph that it is made of, and the tool."""


if __name__ == "__main__":
    main()
