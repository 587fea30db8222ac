"""Architectures: does FourierFT train, convert and serve in each?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.architectures.models import Weights
from experiments.architectures.shapes import Shape
from experiments.architectures.trial import ArchitectureTrial
from experiments.settings import settings
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class ArchitectureSettings:
    """configs/architectures.toml.

    Attributes:
        models: What is adapted, a table each: "architecture", and "weights" or "layers" and
            "width"; and the fields of ArchitectureTrial in which it differs from `common`.
        usual: The other fields of ArchitectureTrial.
    """

    models: Sequence[Mapping[str, Any]]
    usual: Mapping[str, Any]

    def trials(self) -> list[ArchitectureTrial]:
        """Returns one trial a model."""
        return [self._trial(dict(model)) for model in self.models]

    def _trial(self, model: dict[str, Any]) -> ArchitectureTrial:
        weights = model.pop("weights", None)
        origin = (
            Weights(weights)
            if weights is not None
            else Shape(model.pop("layers"), model.pop("width"))
        )
        fields = {"targets": (), **self.usual, **model}
        fields["targets"] = tuple(fields["targets"])
        return ArchitectureTrial(origin=origin, **fields)


def plan(options: Options, results: Results) -> Plan:  # noqa: ARG001  # nothing waits for a result
    """Returns one trial a model; `--model` is refused, since models differ in architecture.

    Raises:
        SystemExit: A model was given.
    """
    if options.model is not None:
        raise SystemExit("architectures: models stand in configs/architectures.toml, not --model")
    return Plan(settings(ArchitectureSettings, "architectures", options.size).trials())


ARCHITECTURES = Experiment(
    "architectures", "FourierFT trained, converted and served in one architecture each", plan
)
