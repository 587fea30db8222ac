"""What the Keras examples' MiniLM computes; a program, run once for each backend.

    KERAS_BACKEND=jax python -m tests.examples.minilm_child OUTPUTS.npz

Needs examples/keras_text on PYTHONPATH.
"""
# ruff: noqa: TID251 -- Keras is what is looked at

import sys
from typing import Any

import keras
import keras_hub
import minilm
import numpy as np

from tests.examples.sentences import FIRST, LENGTH, SECOND


def main(path: str) -> None:
    """Write the outputs of the backbone, and of what Keras rebuilds from its config."""
    tokens = minilm.tokenize(FIRST, SECOND, length=LENGTH)
    backbone = minilm.backbone(dropout=0.1)
    rebuilt = rebuild(backbone)
    classifier = keras_hub.models.BertTextClassifier(backbone, num_classes=2)
    outputs = {
        **backbone.predict(tokens, verbose=0),
        "rebuilt": rebuilt.predict(tokens, verbose=0)["sequence_output"],
        "logits": classifier.predict(tokens, verbose=0),
        "rebuilt_logits": rebuild(classifier).predict(tokens, verbose=0),
    }
    np.savez(path, allow_pickle=False, **tokens, **outputs)


def rebuild(model: Any) -> Any:
    """Returns what Keras makes of the model's config, with the model's weights."""
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    return twin


if __name__ == "__main__":
    main(sys.argv[1])
