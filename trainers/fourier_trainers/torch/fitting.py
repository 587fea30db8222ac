"""Whether an adapter's names and fingerprints are those of a model, a prefix more or less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation
from fourier_trainers import mapping
from fourier_trainers.config import FourierConfig
from fourier_trainers.torch.layers import DTYPES, LayerKind, kind_of, weight_of
from fourier_trainers.torch.selecting import Site, sites_of
from fourier_trainers.torch.state import base_modules, base_parameters, norm_of, samples_of


@dataclass(frozen=True, slots=True)
class Prefix:
    """What turns an adapter's names into a model's.

    Attributes:
        added: Put in front.
        removed: Taken off the front.
    """

    added: str = ""
    removed: str = ""

    def __call__(self, name: str) -> str | None:
        """Returns the model's name; None if `name` does not begin with what is removed."""
        if not name.startswith(self.removed):
            return None
        return self.added + name.removeprefix(self.removed)

    def __str__(self) -> str:
        """As in: with 'bert.' in front."""
        return f"without {self.removed!r}" if self.removed else f"with {self.added!r} in front"


def fitted(model: nn.Module, adapter: Adapter) -> Adapter:
    """Returns the adapter by the model's names.

    Where no name fits, with no prefix, fingerprints say which target is which module, and the map
    is printed.

    Raises:
        TargetNotFoundError: The names fit with several prefixes, and fingerprints do not decide; or
            none fits, and fingerprints do not say which is which.
    """
    modules = base_modules(model)
    if not adapter.targets or any(target.name in modules for target in adapter.targets):
        return adapter
    prefix = _prefix(model, adapter, modules)
    return _by_fingerprint(adapter, modules) if prefix is None else _renamed(adapter, prefix)


def differences(site: Site, target: Target, adapter: Adapter) -> Iterator[Violation]:
    """Yields what says that a module is not the target that the adapter was trained on."""
    candidate = _candidate(site.module, site.kind)
    return mapping.differences(site.name, candidate, target, adapter)


def _prefix(model: nn.Module, adapter: Adapter, modules: Mapping[str, nn.Module]) -> Prefix | None:
    """Returns the one prefix with which all names fit; None if there is none."""
    parameters = {name for name, _ in base_parameters(model)}

    def fits(prefix: Prefix) -> bool:
        return all(prefix(target.name) in modules for target in adapter.targets)

    def fits_heads(prefix: Prefix) -> bool:
        return all(prefix(key) in parameters for key in adapter.replacements)

    fitting = [p for p in _candidates(adapter.targets[0].name, modules) if fits(p)]
    fitting = [p for p in fitting if fits_heads(p)] or fitting  # else it is the heads that lack
    if len(fitting) > 1:
        fitting = [p for p in fitting if _agrees(model, _renamed(adapter, p))] or fitting
    if len(fitting) > 1:
        problem = "the adapter's names fit the model in several ways"
        got = ", ".join(map(str, fitting))
        advice = "load it onto the module inside the model that it was trained on"
        name = adapter.targets[0].name
        raise TargetNotFoundError(Violation("E-TARGET-AMBIGUOUS", name, problem, got, None, advice))
    return fitting[0] if fitting else None


def _by_fingerprint(adapter: Adapter, modules: Mapping[str, nn.Module]) -> Adapter:
    candidates = dict(_layers(modules))
    names = mapping.by_fingerprint(adapter, candidates)
    mapping.show(names)
    return mapping.renamed(adapter, names, {n: one.kind for n, one in candidates.items()})


def _layers(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, mapping.Candidate]]:
    for name, module in modules.items():
        try:
            kind = kind_of(module, name)
        except FourierFormatError:
            continue
        if kind is not None:
            yield name, _candidate(module, kind)


def _candidate(module: nn.Module, kind: LayerKind) -> mapping.Candidate:
    stored = weight_of(module)
    held = None
    if kind.holds_weight() and stored.device.type != "meta":
        matrix = kind.canonical(stored.detach())
        held = mapping.Held(
            DTYPES.get(stored.dtype, "F32"), partial(_samples, matrix), partial(norm_of, matrix)
        )
    return mapping.Candidate(kind.kind, kind.shape(module), held)


def _samples(matrix: Tensor) -> Array:
    """Returns the (32,) float32 samples of a canonical matrix (spec, clause 9)."""
    samples: Array = samples_of(matrix).float().cpu().numpy()
    return samples


def _candidates(name: str, modules: Iterable[str]) -> Iterator[Prefix]:
    for candidate in modules:
        if candidate.endswith(f".{name}"):
            yield Prefix(added=candidate.removesuffix(name))
    parts = name.split(".")
    for k in range(1, len(parts)):
        yield Prefix(removed=".".join(parts[:k]) + ".")


def _agrees(model: nn.Module, adapter: Adapter) -> bool:
    config = FourierConfig(target_modules=("any",))
    try:
        sites = sites_of(model, [target.name for target in adapter.targets], config)
    except FourierFormatError:
        return False
    pairs = zip(sites, adapter.targets, strict=True)
    return not any(True for site, target in pairs for _ in differences(site, target, adapter))


def _renamed(adapter: Adapter, prefix: Prefix) -> Adapter:
    return replace(
        adapter,
        targets=tuple(replace(t, name=prefix(t.name) or t.name) for t in adapter.targets),
        replacements={prefix(key) or key: value for key, value in adapter.replacements.items()},
    )
