"""FourierModel: a model with its adapter, in Keras's own .keras file.

Keras rebuilds a model's layers from their configurations, where an adapter has no place; this
wrapper keeps the plain model's configuration and the adapter beside each other, and attaches it
again when it is loaded. The weights of both are in the file as Keras stores them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import keras
from keras import saving

from fourier_format import files
from fourier_format.adapter import Adapter
from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_trainers.captured import config_of
from fourier_trainers.keras.adapted import plain
from fourier_trainers.keras.attaching import exchanged
from fourier_trainers.keras.capturing import capture
from fourier_trainers.keras.coefficients import Witness
from fourier_trainers.keras.loading import put_on
from fourier_trainers.keras.naming import named_layers, named_variables
from fourier_trainers.keras.selecting import sites_of
from fourier_trainers.keras.state import ATTRIBUTE, State, attached_in


@saving.register_keras_serializable(package="fourier_format")
class FourierModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model with an adapter attached, which can be saved, loaded and trained on.

        FourierModel(model).save("tuned.keras")
        again = keras.saving.load_model("tuned.keras")   # import fourier_trainers.keras first

    Attributes:
        base: The attached model.
    """

    def __init__(self, base: Any, **keywords: Any) -> None:
        """Takes an attached model.

        Raises:
            UsageError: No adapter is attached to it, or it is merged.
        """
        super().__init__(**keywords)
        if [base] != attached_in(base):
            problem, advice = "no adapter is attached to this model", "attach(model, config) first"
            raise UsageError(Violation("E-USAGE", "base", problem, advice=advice))
        if _state(base).kept:
            problem = "its delta weights are merged, so that it can be saved by itself"
            raise UsageError(Violation("E-USAGE", "base", problem))
        self.base: Final = base
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns what the model computes; `fit` tells only a `call` that asks for `training`."""
        return self.base(inputs, training=training)

    def save(self, *path: Any, **keywords: Any) -> None:
        """Save as .keras; what refuses to be saved is found before a file is written over."""
        self.get_config()
        super().save(*path, **keywords)

    def get_config(self) -> dict[str, Any]:
        """Returns the plain model's configuration, and what is attached to it."""
        state = _state(self.base)
        if state.kept:
            problem, advice = "its delta weights are merged", "save the model inside: its .base"
            raise UsageError(Violation("E-USAGE", self.name, problem, advice=advice))
        # Its replacements are the base's own values here: those that were trained are weights.
        adapter = replace(capture(self.base), replacements=dict(state.originals))
        with plain([*exchanged(state)]):
            base = saving.serialize_keras_object(self.base)
            layers, variables = list(named_layers(self.base)), list(named_variables(self.base))
        base.pop("compile_config", None)  # it is the wrapper that is compiled
        return {
            "name": self.name,
            "base": base,
            "adapter": base64.b64encode(files.to_bytes(adapter)).decode("ascii"),
            # By number: Keras gives layers that have no name another one when it makes them anew.
            "targets": [layers.index(target.name) for target in adapter.targets],
            "replacements": {name: variables.index(name) for name in state.whole},
            "gain": state.config.gain,
            "path": state.config.path,
            "reached": state.config.reached,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> FourierModel:
        """Returns the model, attached; its weights are those that are loaded next.

        Raises:
            UnsupportedError: The plain model cannot be built from its configuration.
        """
        base = saving.deserialize_keras_object(config["base"], custom_objects)
        adapter = files.from_bytes(base64.b64decode(config["adapter"]), "the adapter in the model")
        layers = named_layers(base)
        adapter = _called_anew(adapter, dict(enumerate(layers)), config["targets"])
        _refuse_unbuilt(adapter, layers)
        attached = config_of(adapter, config["gain"], config["path"])
        attached = replace(attached, reached=config["reached"])
        sites = sites_of(layers, [target.name for target in adapter.targets], attached)
        variables = list(named_variables(base).items())
        named = {old: variables[number] for old, number in config["replacements"].items()}
        whole = dict(named.values())
        put_on(base, adapter, sites, attached, whole, _witnesses(adapter))
        originals = adapter.replacements
        _state(base).originals = {named[old][0]: value for old, value in originals.items()}
        return cls(base, name=config["name"])


def _called_anew(adapter: Adapter, names: Mapping[int, str], numbers: Sequence[int]) -> Adapter:
    """Returns the adapter with its targets called by the names of the layers of these numbers."""
    pairs = zip(adapter.targets, numbers, strict=True)
    targets = tuple(replace(target, name=names.get(k, target.name)) for target, k in pairs)
    return replace(adapter, targets=targets)


def _refuse_unbuilt(adapter: Adapter, layers: Mapping[str, Any]) -> None:
    unbuilt = [t.name for t in adapter.targets if not getattr(layers.get(t.name), "built", False)]
    if unbuilt:
        problem = "the model's layers are not there once it is made from its configuration"
        advice = (
            "give its class a build(), or get_build_config() and build_from_config(), that "
            "makes and builds its layers; Keras asks this of any subclassed model"
        )
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", unbuilt[0], problem, advice=advice))


def _witnesses(adapter: Adapter) -> dict[str, Witness]:
    """Returns what the targets' weights must be once they are loaded."""
    found = {}
    for target in adapter.targets:
        prints = adapter.entry_set(target).fingerprints
        if prints is not None:
            row = target.row
            found[target.name] = Witness(prints.samples[row], float(prints.norm[row]))
    return found


def _state(base: Any) -> State:
    state: State = vars(base)[ATTRIBUTE]
    return state
