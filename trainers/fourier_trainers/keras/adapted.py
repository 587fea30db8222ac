"""Layers with a delta weight: a subclass of the layer's own class, made when it is needed.

The class of the layer object is exchanged, so that the object, its variables and its place in the
model stay what they are. The subclass overrides the property that reads the weight, so that any
`call` that reads it, Keras's or a user's, computes with the sum; and `call`, where it is known and
cheaper. Layers around a target are exchanged too, only so that they refuse to be serialised:
Keras rebuilds sublayers from configurations, and would forget the adapter without a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import keras
from keras import ops

from fourier_trainers.keras.coefficients import Coefficients
from fourier_trainers.keras.layers import LayerKind, as_stored, refused, variable_of

ATTRIBUTE: Final = "fourier"
"""Where an adapted layer holds its `Coefficients`."""


class Holding:
    """A layer that is, or holds, a target."""

    base_class: type[Any]

    def get_config(self) -> dict[str, Any]:
        """Refuse: what is made of a configuration would have no adapter.

        Raises:
            UnsupportedError: Always.
        """
        problem = "a model with an adapter attached is not saved, or cloned, by itself"
        advice = (
            "save FourierModel(model), which attaches again when it is loaded; "
            "or capture(model) and save the adapter; or detach or merge first"
        )
        raise refused(_name(self), problem, advice=advice)

    def save(self, *_: Any, **__: Any) -> None:
        """Refuse, before a file is written over: Keras opens it first.

        Raises:
            UnsupportedError: Always.
        """
        self.get_config()

    def enable_lora(self, *_: Any, **__: Any) -> None:
        """Refuse: one of the two would be left out, without a word.

        Raises:
            UnsupportedError: Always.
        """
        problem, advice = "LoRA beside an adapter is not supported", "detach(model) first"
        raise refused(_name(self), problem, advice=advice)

    def _check_quantize_args(self, *_: Any, **__: Any) -> None:
        """Refuse what `quantize` begins with: it would pass over the targets, and go on.

        Raises:
            UnsupportedError: Always.
        """
        problem = "a model with an adapter attached is not quantised"
        advice = "merge(model), or save what capture(model) returns and detach(model), first"
        raise refused(_name(self), problem, advice=advice)


class Adapted(Holding):
    """A target."""

    kind: LayerKind
    fourier: Coefficients

    def __dir__(self) -> list[str]:
        """All but the weight: Keras's saver reads each attribute, and would compute the delta."""
        return [name for name in super().__dir__() if name != self.kind.weight]

    def weight_with_delta(self) -> Any:
        """Returns the weight plus the delta weight, as the layer stores it."""
        term = self.fourier.term()
        weight = variable_of(self, self.kind)
        delta = self.kind.delta(self, term)
        dtype = keras.backend.standardize_dtype(ops.convert_to_tensor(weight).dtype)
        return ops.cast(ops.cast(as_stored(weight), delta.dtype) + delta, dtype)

    def save_own_variables(self, store: Any) -> None:
        """Save the base's weight: Keras's own layers save what their weight's property reads."""
        adapted = type(self)
        _set_class(self, self.base_class)
        try:
            cast("Any", self).save_own_variables(store)
        finally:
            _set_class(self, adapted)


class WithKernel(Adapted):
    """A target whose weight is its kernel."""

    @property
    def kernel(self) -> Any:
        """The kernel plus the delta weight."""
        return self.weight_with_delta()


class WithEmbeddings(Adapted):
    """A target whose weight is its embeddings."""

    @property
    def embeddings(self) -> Any:
        """The embeddings plus the delta weight."""
        return self.weight_with_delta()


class Calling:
    """A target whose class has the `call` of its origin."""

    def call(self, inputs: Any, **keywords: Any) -> Any:
        """Returns what the layer computes with the delta weight."""
        target = cast("Adapted", self)
        term = target.fourier.term()
        if target.kind.separate(self, inputs, term):
            return target.kind.call(self, inputs, variable_of(self, target.kind), term)
        return cast("Any", super()).call(inputs, **keywords)


_READING: Final[dict[str, type[Adapted]]] = {
    "kernel": WithKernel,
    "embeddings": WithEmbeddings,
}


def become_adapted(layer: Any, kind: LayerKind, member: Coefficients) -> None:
    """Give a layer a delta weight."""
    cls = type(layer)
    mixins: tuple[type[Any], ...] = (_READING[kind.weight],)
    if cls.call is kind.origin.call:
        mixins = (Calling, *mixins)
    _exchange(layer, mixins, {"kind": kind})
    _put(layer, member)


def become_holding(layer: Any) -> None:
    """Make a layer around targets refuse to be serialised."""
    _exchange(layer, (Holding,), {})


def become_plain(layer: Any) -> None:
    """Give a layer its class back, and take its coefficients, if it has any, away."""
    if isinstance(layer, Adapted):
        _take(layer)
    _set_class(layer, layer.base_class)


@contextlib.contextmanager
def plain(layers: Iterable[Any]) -> Iterator[None]:
    """Inside, layers are what they were before they became adapted or holding."""
    exchanged: list[tuple[Any, type[Any], Coefficients | None]] = []
    try:
        for layer in layers:
            exchanged.append((layer, type(layer), getattr(layer, ATTRIBUTE, None)))
            become_plain(layer)
        yield
    finally:
        for layer, cls, member in exchanged:
            _set_class(layer, cls)
            if member is not None:
                _put(layer, member)


def is_exchanged(layer: Any) -> bool:
    """Whether a layer is adapted, or holds one that is."""
    return isinstance(layer, Holding)


def _name(layer: Any) -> str:
    return str(layer.name)


def _exchange(layer: Any, mixins: tuple[type[Any], ...], members: dict[str, Any]) -> None:
    cls = type(layer)
    facts = {"base_class": cls, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    # The same name: Keras calls a layer's group in a weights file after its class.
    _set_class(layer, type(cls.__name__, (*mixins, cls), facts | members))


def _set_class(layer: Any, cls: type[Any]) -> None:
    object.__setattr__(layer, "__class__", cls)


def _put(layer: Any, member: Coefficients) -> None:
    tracker = tracker_of(layer)
    locked = tracker.locked
    tracker.unlock()
    try:
        setattr(layer, ATTRIBUTE, member)
    finally:
        if locked:
            tracker.lock()


def _take(layer: Any) -> None:
    tracker = tracker_of(layer)
    tracker.untrack(layer.fourier)
    delattr(layer, ATTRIBUTE)


def tracker_of(layer: Any) -> Any:
    """Returns what Keras tracks a built layer's state with: `enable_lora` opens it as well.

    Raises:
        UnsupportedError: This Keras has no such thing, or the layer cannot be opened.
    """
    tracker = getattr(layer, "_tracker", None)
    if not all(hasattr(tracker, name) for name in ("locked", "unlock", "lock", "untrack")):
        problem = "the layer is locked, and this version of Keras does not let it be opened"
        raise refused(layer.name, problem, keras.__version__, "use Keras 3.15 or near it")
    return tracker
