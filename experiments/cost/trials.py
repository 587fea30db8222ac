"""The trials: each measures one quantity at one size, all that is compared in turn."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.trial import Context, Json

_FLOPS = 60e9  # of the cores together
_OPENING = 150e-9  # seconds a weight, of a graph with two of them
_ROUND = 0.05  # seconds of a job's round at least, with what is around it


@dataclass(frozen=True, slots=True)
class TrainTrial:
    """Forward and backward of one layer, and AdamW's step: the base, LoRA, FourierFT on each path.

    Attributes:
        width: The layer is (width, width).
        tokens: Of a step.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each is timed.
    """

    width: int
    tokens: int
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    rounds: int

    @property
    def label(self) -> str:
        """Width and tokens."""
        return f"train width={self.width} tokens={self.tokens}"

    @property
    def work(self) -> str:
        """Nothing else costs the same."""
        return self.label

    @property
    def steps(self) -> int:
        """Rounds."""
        return self.rounds

    @property
    def guess(self) -> float:
        """From three products of the layer an arm, and FFTs over its weight."""
        arms = 1 + len(self.ranks) + 3 * len(self.sizes)
        updates = len(self.ranks) + len(self.sizes)
        flops = 6 * self.tokens * self.width**2 + 100 * self.width**2
        return arms * max(flops / _FLOPS, _ROUND) + updates * _ROUND

    def run(self, context: Context) -> Json:
        """Returns what `training.measured` does."""
        from experiments.cost import training

        return training.measured(
            self.width, self.tokens, self.sizes, self.ranks, self.rounds, context
        )


@dataclass(frozen=True, slots=True)
class FileTrial:
    """Bytes of files for query and value of some layers.

    Attributes:
        width: Of all targets.
        layers: How many layers the model has.
        sizes: n of FourierFT.
        ranks: Of LoRA.
    """

    width: int
    layers: int
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]

    @property
    def label(self) -> str:
        """Width and layers."""
        return f"files width={self.width} layers={self.layers}"

    @property
    def work(self) -> str:
        """Nothing else costs the same."""
        return self.label

    @property
    def steps(self) -> int:
        """One."""
        return 1

    @property
    def guess(self) -> float:
        """A second, with imports."""
        return 1.0

    def run(self, context: Context) -> Json:
        """Returns what `files.measured` does."""
        from experiments.cost import files

        result = files.measured(self.width, self.layers, self.sizes, self.ranks, context.folder)
        context.step()
        return result


@dataclass(frozen=True, slots=True)
class ConversionTrial:
    """From an adapter to merged ONNX: query and value of one width.

    Attributes:
        width: Both weights are (width, width).
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each is timed.
    """

    width: int
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    rounds: int

    @property
    def label(self) -> str:
        """Width."""
        return f"conversion width={self.width}"

    @property
    def work(self) -> str:
        """Nothing else costs the same."""
        return self.label

    @property
    def steps(self) -> int:
        """Rounds."""
        return self.rounds

    @property
    def guess(self) -> float:
        """From some 30 ns a weight and job."""
        jobs = 3 * len(self.sizes) + 2 * len(self.ranks)
        return jobs * max(2 * 30e-9 * self.width**2, _ROUND)

    def run(self, context: Context) -> Json:
        """Returns what `conversion.measured` does."""
        from experiments.cost import conversion

        return conversion.measured(self.width, self.sizes, self.ranks, self.rounds, context)


@dataclass(frozen=True, slots=True)
class ServeTrial:
    """A batch in ONNX Runtime, query and value of one input adapted, in each form.

    Attributes:
        width: Both layers are (width, width).
        rows: Of the batch.
        tokens: Of each row.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each form is timed.
    """

    width: int
    rows: int
    tokens: int
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    rounds: int

    @property
    def label(self) -> str:
        """Width and batch."""
        return f"serve width={self.width} batch={self.rows}x{self.tokens}"

    @property
    def work(self) -> str:
        """Nothing else costs the same."""
        return self.label

    @property
    def steps(self) -> int:
        """Rounds."""
        return self.rounds

    @property
    def guess(self) -> float:
        """From the base's two products a form, and from graphs that are made and opened once."""
        forms = 1 + 2 * len(self.sizes) + 3 * len(self.ranks)
        flops = 8 * self.rows * self.tokens * self.width**2
        opening = (len(self.sizes) + 3) * _OPENING * self.width**2
        return forms * max(flops / _FLOPS, _ROUND) + opening / self.rounds

    def run(self, context: Context) -> Json:
        """Returns what `serving.measured` does."""
        from experiments.cost import serving

        return serving.measured(
            self.width, self.rows, self.tokens, self.sizes, self.ranks, self.rounds, context
        )
