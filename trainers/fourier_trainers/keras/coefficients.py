"""What an adapted layer holds: a layer with the coefficients, which Keras then tracks and saves."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array
from fourier_format.errors import UsageError, Violation
from fourier_trainers.config import Path
from fourier_trainers.keras.layers import Term
from fourier_trainers.keras.spectral.basis import Basis

_NORM_TOLERANCE: Final = 1e-9


class Witness(NamedTuple):
    """Enough of a weight to see that it has changed.

    Attributes:
        samples: (32,) float32, at the positions of a fingerprint (spec/registry.md, section 4).
        norm: The Frobenius norm, in float64.
    """

    samples: Array
    norm: float

    def agrees(self, other: Witness) -> bool:
        """Whether both are of one weight; sums may have been added in another order."""
        near = abs(self.norm - other.norm) <= _NORM_TOLERANCE * max(self.norm, other.norm)
        return near and np.array_equal(self.samples, other.samples)


class Coefficients(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The coefficients of one target.

    Attributes:
        coefficients: (n,) what is trained: the adapter's coefficients over `gain`.
        basis: Transform, shape and entries, shared by targets of one shape.
        alpha: The scale of the delta weight.
        gain: What the trained values are multiplied by; never part of an adapter.
        reached: Whether the delta weight has ever been asked for.
        witness: Of the base's weight that they belong to; None where nothing is known of it.
    """

    def __init__(
        self,
        values: Array,
        basis: Basis,
        alpha: float,
        gain: float,
        path: Path,
        dtype: str,
        targets: int = 1,
    ) -> None:
        """Takes the trained values, (n,), and what they mean; `dtype` is float32 or float64.

        Of how many targets of the model they are one, a file of weights says as well.
        """
        super().__init__(name="fourier", dtype=dtype)
        self.basis: Final = basis
        self.alpha: Final = alpha
        self.gain: Final = gain
        self.path_: Final = path
        self._targets: Final = targets
        self.reached = False
        self.witness: Witness | None = None
        self.coefficients: Final = self.add_weight(
            name="coefficients",
            shape=values.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(values, dtype),  # noqa: ARG005 - Keras names them
            dtype=dtype,
            autocast=False,
        )
        self.built = True

    def term(self) -> Term:
        """Returns the delta weight that they mean."""
        self.reached = True
        scale = ops.convert_to_tensor(self.gain * self.alpha, self.coefficients.dtype)
        scaled = ops.multiply(self.coefficients, scale)  # torch's takes a number as float32
        return Term(self.basis, scaled, self.path_)

    def save_own_variables(self, store: Any) -> None:
        """Save the trained values, a digest of all that gives them a meaning, and the witness."""
        store["0"] = self.coefficients
        store["meaning"] = self._meaning()
        if self.witness is not None:
            store["samples"] = self.witness.samples
            store["norm"] = np.array([self.witness.norm])

    def load_own_variables(self, store: Any) -> None:
        """Load the trained values.

        Raises:
            UsageError: The file holds none, or others: of other entries, alpha or gain.
        """
        where = f"coefficients of a target of shape {self.basis.shape}"
        if "0" not in store or "meaning" not in store:
            problem = "the file holds none: it is of a model without this adapter"
            advice = "load a base's weights before attach"
            raise UsageError(Violation("E-USAGE", where, problem, advice=advice))
        if not np.array_equal(np.asarray(store["meaning"]), self._meaning()):
            problem = "those in the file have other targets, entries, n, transform, alpha or gain"
            advice = "attach with the configuration that the file's model was attached with"
            raise UsageError(Violation("E-USAGE", where, problem, advice=advice))
        self.coefficients.assign(store["0"])
        if "samples" in store:  # the file holds their base as well, whatever this model's was
            norm = float(np.asarray(store["norm"])[0])
            self.witness = Witness(np.asarray(store["samples"]), norm)

    def _meaning(self) -> Array:
        """Returns (32,) uint8, a digest of all that says what the trained values mean."""
        basis = self.basis
        scales = f"{float(self.alpha)!r} {float(self.gain)!r}"
        stated = f"{basis.transform} {basis.shape} {scales} {self._targets}"
        data = stated.encode() + np.ascontiguousarray(basis.entries, "<i4").tobytes()
        return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
