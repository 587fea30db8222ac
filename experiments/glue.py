"""FourierFT against LoRA, full fine-tuning and the head alone, on GLUE's tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments import selection
from experiments.pretrained import pretrained
from experiments.settings import settings
from experiments.text.methods import Fourier, Full, Head, Lora, Method
from experiments.text.trial import TextTrial
from experiments.text.untuned import Untuned
from experiments.trial import Experiment, Options, Plan, Results, Trial


@dataclass(frozen=True, slots=True)
class GlueSettings:
    """configs/glue.toml.

    Attributes:
        model: A name for models.located.
        trained_layers: Of TextTrial.
        n: Coefficients of a weight.
        alpha: The scale.
        rank: Of LoRA, whose alpha is twice the rank.
        width: Of the model.
        rates: Kind of method -> the rates that are tried; of the head alone, head rates.
        head_rates: Task -> the head's rate beside every other method.
        batch: Rows of a step.
        length: Tokens of a row at most.
        precision: Of TextTrial.
        choosing_seed: Of the trials that choose.
        fresh_seeds: Of those that report.
        tasks: Name -> epochs.
        rows: Name -> rows of train; all where a task is not named.
        alphas: Name -> its own alpha, where it has one.
        added_rates: Of `rates`, those that were added once the others had been tried.
    """

    model: str
    trained_layers: int
    n: int
    alpha: float
    rank: int
    width: int
    rates: Mapping[str, Sequence[float]]
    head_rates: Mapping[str, float]
    batch: int
    length: int
    precision: str
    choosing_seed: int
    fresh_seeds: Sequence[int]
    tasks: Mapping[str, int]
    rows: Mapping[str, int]
    alphas: Mapping[str, float] = field(default_factory=dict)
    added_rates: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Options) -> GlueSettings:
        """Returns what is configured for a size.

        Raises:
            SystemExit: Another model is wider or narrower than what is configured.
        """
        found = settings(cls, "glue", options.size, model=options.model)
        if options.model is not None:
            _refuse_other_width(options.model, options.size, found.width)
        return found

    def fourier(self, task: str) -> Fourier:
        """Returns the FourierFT that is compared with LoRA."""
        return Fourier(self.n, self.alphas.get(task, self.alpha))

    def lora(self, rank: int | None = None) -> Lora:
        """Returns the LoRA that is compared, or one of another rank."""
        return Lora(rank or self.rank, 2.0 * (rank or self.rank))

    def methods(self, task: str) -> list[Method]:
        """Returns what is compared."""
        return [self.fourier(task), self.lora(), Full(self.trained_layers), Head()]

    def make(self, task: str, method: Method) -> Callable[[float, int, bool], Trial]:
        """Returns what makes the trials of one method on one task."""

        def trial(rate: float, seed: int, report: bool) -> Trial:
            alone = method.kind == "head"
            return TextTrial(
                task=task,
                model=self.model,
                method=method,
                trained_layers=self.trained_layers,
                rate=rate,
                head_rate=rate if alone else self.head_rates[task],
                seed=seed,
                epochs=self.tasks[task],
                batch=self.batch,
                length=self.length,
                precision=self.precision,
                rows=self.rows.get(task),
                report=report,
                serve=report and self._served(task, method, seed),
            )

        return trial

    def _served(self, task: str, method: Method, seed: int) -> bool:
        """Returns whether ONNX Runtime answers: what is compared always, others with one seed."""
        one = seed == self.fresh_seeds[0]
        return method.kind == "fourier" and (one or method == self.fourier(task))

    def plan(
        self,
        task: str,
        method: Method,
        seeds: Sequence[int],
        results: Results,
        rates: Mapping[str, Sequence[float]] | None = None,
    ) -> Plan:
        """Returns the trials of one method on one task, rates first: its own, or of `rates`."""
        kind = "fourier" if method.kind == "control" else method.kind
        tried = (rates or self.rates)[kind]
        return selection.plan(self.make(task, method), tried, self.choosing_seed, seeds, results)

    def like(
        self,
        task: str,
        make: selection.Make,
        chooser: Method,
        factor: float,
        seeds: Sequence[int],
        results: Results,
    ) -> Plan:
        """Returns trials of `make` at `factor` times the rate that was chosen for `chooser`."""
        return selection.at_rate_of(
            self.make(task, chooser),
            self.rates[chooser.kind],
            self.choosing_seed,
            make,
            factor,
            seeds,
            results,
        )

    def untuned(self, task: str) -> Trial:
        """Returns what gives a task's labels, and what is reached without training."""
        return Untuned(task, self.model, self.length, self.rows.get(task))


def _refuse_other_width(model: str, size: str, width: int) -> None:
    from transformers import AutoConfig

    found = pretrained(AutoConfig, model).hidden_size
    if found != width:
        table = f'[{size}.for_model."{Path(model).name}"]'
        raise SystemExit(
            f"{model} is {found} wide, and what configs/glue.toml sets for {size} is for {width}: "
            f"give it a table of its own there, {table}, with width and what goes with it"
        )


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of every task and method, and what needs no training."""
    found = GlueSettings.of(options)
    return selection.together(
        [
            Plan([found.untuned(task) for task in found.tasks]),
            *(
                found.plan(task, method, found.fresh_seeds, results)
                for task in found.tasks
                for method in found.methods(task)
            ),
        ]
    )


GLUE = Experiment("glue", "FourierFT against LoRA, full fine-tuning and the head alone", plan)
