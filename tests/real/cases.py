"""The adapters that the converter must get right: one ``Case`` is a base, a PEFT config, inputs.

Every case names the trait of real checkpoints that it stands for. Scaling and counts are chosen
so that the delta weights are about as large as the base weights: the adapter's effect is then of
the output's own size, and a tolerance on it measures the converter rather than float32.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from peft import FourierFTConfig, PeftConfig, PeftModel, WaveFTConfig
from transformers import PreTrainedModel

from tests.real import bases
from tests.real.exports import Wrap
from tests.real.training import train_on_pairs

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A base model and the PEFT adapter to be made for it."""

    name: str
    base: Callable[[], PreTrainedModel]
    settings: Mapping[str, object]
    method: Callable[..., PeftConfig] = FourierFTConfig
    wrap: Wrap = "wrapped"
    """How its owner would export the base: the model itself, or inside another module."""
    train: Callable[[PeftModel], None] | None = None
    """Real training; without it, trained parameters are moved by random amounts."""
    adapter_dtype: torch.dtype = torch.float32
    """Below float32, PEFT is told to keep the coefficients in the base's dtype."""
    adapters: tuple[str, ...] = ("default",)
    """PEFT saves adapters that are not called "default" in subfolders."""

    def config(self) -> PeftConfig:
        """Build a new config: PEFT writes into the one that it is given."""
        return self.method(**self.settings)


def example_inputs(model: PreTrainedModel, rows: int = 3, tokens: int = 11) -> Inputs:
    """Draw what the model takes: images, or token ids, the last row padded as by a tokenizer."""
    generator = torch.Generator().manual_seed(3)
    config = model.config
    if config.model_type == "vit":
        size = (rows, config.num_channels, config.image_size, config.image_size)
        return {"pixel_values": torch.randn(size, generator=generator)}
    ids = torch.randint(5, config.vocab_size, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    ids[-1, -3:] = config.pad_token_id or 0
    mask[-1, -3:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if config.is_encoder_decoder:
        targets = torch.randint(5, config.vocab_size, (rows, tokens - 4), generator=generator)
        inputs["decoder_input_ids"] = targets
    return inputs


def _settings(targets: object, n: int, scaling: float, **others: object) -> dict[str, object]:
    return {"target_modules": targets, "n_frequency": n, "scaling": scaling} | others


_QV = ["query", "value"]
_LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

MINILM_CASES = (
    Case(name="minilm-query-value", base=bases.minilm, settings=_settings(_QV, 1000, 150.0)),
    Case(
        name="minilm-all-linear",
        base=bases.minilm,
        settings=_settings("all-linear", 700, 50.0, random_loc_seed=11),
        wrap="bare",
    ),
    Case(
        name="minilm-trained",
        base=bases.minilm,
        settings=_settings(_QV, 500, 150.0, init_weights=True),
        wrap="pooled",
        train=train_on_pairs,
    ),
)

PLAIN_CASES = (
    Case(
        name="gpt2-conv1d",
        base=bases.gpt2,
        settings=_settings(["c_attn", "c_proj", "c_fc"], 150, 50.0),
    ),
    Case(
        name="llama-grouped-queries",
        base=bases.llama,
        settings=_settings(_LLAMA, 150, 12.0),
        wrap="bare",
    ),
    Case(
        name="bert-frequency-pattern",
        base=bases.bert,
        settings=_settings(
            ["query", "value", "dense"],
            100,
            35.0,
            n_frequency_pattern={r"layer\.1\.attention\.self\.value": 7, "query": 260},
        ),
        wrap="bare",
    ),
    Case(
        name="bert-modules-to-save",
        base=bases.bert_classifier,
        settings=_settings(
            _QV, 150, 30.0, task_type="SEQ_CLS", modules_to_save=["pooler", "LayerNorm"]
        ),
    ),
    Case(
        name="roberta-trained-head",
        base=bases.roberta_classifier,
        settings=_settings(_QV, 150, 30.0, task_type="SEQ_CLS", bias="fourier_only"),
        wrap="bare",
    ),
    Case(
        name="bert-all-biases",
        base=bases.bert,
        settings=_settings(["query", "value", "intermediate.dense"], 150, 30.0, bias="all"),
    ),
    Case(
        name="bert-all-biases-of-a-fresh-base",
        base=bases.fresh_bert,
        settings=_settings(_QV, 150, 30.0, bias="all"),
        wrap="bare",
    ),
    Case(
        name="gpt2-biases-of-targets",
        base=bases.gpt2,
        settings=_settings(["c_attn", "c_fc"], 150, 50.0, bias="fourier_only"),
    ),
    Case(
        name="t5-encoder-decoder",
        base=bases.t5,
        settings=_settings(["q", "v", "wo"], 150, 30.0),
    ),
)

# transformers 5 saves a ViT under former names (encoder.layer.0.attention.attention.query), PEFT
# the adapter under today's (layers.0.attention.q_proj): only the graph knows the adapter's names.
IMAGE_CASES = (
    Case(
        name="vit-query-value",
        base=bases.vit,
        settings=_settings(["q_proj", "v_proj"], 150, 30.0),
    ),
)

# Weights that several nodes or several targets share, or whose values tell them apart from none.
SHARED_CASES = (
    Case(
        name="albert-one-target-many-uses",
        base=bases.albert,
        settings=_settings(["query", "value", "ffn", "embedding_hidden_mapping_in"], 150, 30.0),
        wrap="bare",
    ),
    Case(
        name="gpt2-tied-lm-head",
        base=bases.gpt2_tied,
        settings=_settings(["c_attn", "lm_head"], 200, 50.0, random_loc_seed=5),
    ),
    Case(
        name="bert-identical-layers",
        base=bases.identical_layers,
        settings=_settings(["query", "value", "dense"], 150, 30.0),
    ),
    Case(
        name="bert-narrow-identical-layers",
        base=bases.narrow_identical_layers,
        settings=_settings(["query", "value", "dense"], 60, 12.0),
        wrap="bare",
    ),
    Case(
        name="bert-one-of-identical-layers",
        base=bases.identical_layers,
        settings=_settings(["query", "value", "dense"], 150, 30.0, layers_to_transform=[1]),
    ),
    Case(
        name="bert-zero-and-symmetric-weights",
        base=bases.zero_and_symmetric,
        settings=_settings(["query", "value", "output.dense"], 150, 30.0),
    ),
)

WRITTEN_OUT_CASE = Case(
    name="bert-attention-written-out",
    base=bases.bert_eager,
    settings=_settings(["query", "key", "value", "dense"], 150, 25.0),
)

GENERATING_CASES = (
    Case(
        name="llama-generating",
        base=bases.llama_generating,
        settings=_settings(_LLAMA, 150, 12.0),
    ),
    Case(
        name="llama-generating-tied",
        base=bases.llama_generating_tied,
        settings=_settings(["q_proj", "v_proj", "o_proj"], 150, 20.0),
    ),
)

LIVE_CASES = (
    Case(
        name="llama-live",
        base=bases.llama_generating,
        settings=_settings(["q_proj", "v_proj"], 150, 20.0),
        adapters=("default", "formal"),
    ),
    Case(
        name="smollm2-live",
        base=bases.smollm2,
        settings=_settings(["q_proj", "v_proj"], 1000, 200.0),
    ),
)

HALF_COEFFICIENT_CASES = tuple(
    Case(
        name=f"bert-{name}-coefficients",
        base=bases.bert,
        settings=_settings(_QV, 150, 30.0),
        adapter_dtype=dtype,
    )
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16))
)

NAMED_CASE = Case(
    name="bert-named-adapters",
    base=bases.bert,
    settings=_settings(_QV, 150, 30.0),
    adapters=("formal", "casual"),
)
BESIDE_DEFAULT_CASE = Case(
    name="bert-default-and-named",
    base=bases.bert,
    settings=_settings(_QV, 150, 30.0),
    adapters=("default", "casual"),
)

WIDTH_2048_CASE = Case(
    name="llama-width-2048",
    base=bases.llama_2048,
    settings=_settings(["q_proj", "v_proj", "o_proj"], 1000, 3000.0),
)

CLASSIFIER_CASE = Case(
    name="minilm-classifier",
    base=bases.minilm_classifier,
    settings=_settings(_QV, 1000, 150.0, task_type="SEQ_CLS"),
)

WAVEFT_CASES = (
    Case(
        name="minilm-waveft",
        base=bases.minilm,
        method=WaveFTConfig,
        settings=_settings(_QV, 1000, 8.0, wavelet_family="sym4"),
    ),
    Case(
        name="gpt2-waveft-conv1d",
        base=bases.gpt2,
        method=WaveFTConfig,
        settings=_settings(
            ["c_attn", "c_proj", "c_fc"], 150, 10.0, wavelet_family="coif1", bias="waveft_only"
        ),
    ),
    Case(
        name="llama-waveft-proportional",
        base=bases.llama,
        method=WaveFTConfig,
        settings=_settings(_LLAMA, 150, 8.0, proportional_parameters=True, random_loc_seed=9),
        wrap="bare",
    ),
)

SMALL_CASES = PLAIN_CASES + IMAGE_CASES + SHARED_CASES
CASES = MINILM_CASES + SMALL_CASES + HALF_COEFFICIENT_CASES
_OTHER_CASES = (
    WRITTEN_OUT_CASE,
    NAMED_CASE,
    BESIDE_DEFAULT_CASE,
    WIDTH_2048_CASE,
    CLASSIFIER_CASE,
    *LIVE_CASES,
)
EVERY_CASE = {case.name: case for case in (*CASES, *WAVEFT_CASES, *GENERATING_CASES, *_OTHER_CASES)}
