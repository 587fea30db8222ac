"""A basis is made once for each device and dtype, and survives copies and pickles."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from fourier_trainers.torch.spectral import functions
from fourier_trainers.torch.spectral.basis import Basis, Direction
from tests.fourier_trainers.torch.reference import TRANSFORMS, entries_of

CPU = torch.device("cpu")
TERMS = {"dft2": 2, "dht2": 4, "dct2": 4}


def basis_of(transform: str = "dft2", shape: tuple[int, int] = (6, 10), count: int = 20) -> Basis:
    return Basis(transform, shape, entries_of(shape, count))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_it_states_its_sizes(transform: str) -> None:
    basis = basis_of(transform)

    assert (basis.count, basis.terms, basis.shape) == (20, TERMS[transform], (6, 10))
    assert basis.norm == (1.0 if transform == "dct2" else 1 / 60)
    assert (basis.out_axis.length, basis.in_axis.length) == (6, 10)


def test_its_tensors_are_made_once_for_each_dtype() -> None:
    basis = basis_of()

    assert basis.on(CPU, torch.float32) is basis.on(CPU, torch.float32)
    assert basis.on(CPU, torch.float64).plain.dtype == torch.float64
    assert basis.on(CPU, torch.float32).plain.dtype == torch.float32


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 1), (6, 10), (5, 3), (40, 40)], ids=str)
def test_both_directions_hold_the_same_routes(shape: tuple[int, int], transform: str) -> None:
    """Each is sorted by where it goes, and its offsets say where each row begins."""
    basis = Basis(transform, shape, entries_of(shape, 30))
    tensors = basis.on(CPU, torch.float64)
    out, in_ = basis.out_axis, basis.in_axis

    def cells(way: Direction, *, turned: bool, divided: torch.Tensor) -> list[tuple[float, ...]]:
        ends = (way.source, way.bags) if turned else (way.bags, way.source)
        weights = (way.weight * divided[way.bags]).tolist()
        columns = (*(end.tolist() for end in ends), way.entry.tolist(), weights)
        return sorted(zip(*columns, strict=True))

    forth = cells(tensors.to_out, turned=False, divided=torch.from_numpy(out.multiplicity))
    back = cells(tensors.to_in, turned=True, divided=torch.from_numpy(in_.multiplicity))
    assert np.allclose(forth, back, rtol=1e-15)
    for way, rows in ((tensors.to_out, out.rows), (tensors.to_in, in_.rows)):
        assert torch.equal(way.bags, way.bags.sort().values)
        counts = torch.diff(way.offsets, append=torch.tensor([way.source.numel()]))
        assert torch.equal(counts, torch.bincount(way.bags, minlength=rows))
    assert torch.equal(tensors.used_in[tensors.used_place], tensors.to_out.source)
    entry = tensors.to_out.entry[tensors.by_entry].view(basis.terms, basis.count)
    assert torch.equal(entry, torch.arange(basis.count).expand_as(entry))


def test_copies_of_a_model_share_it() -> None:
    basis = basis_of()

    assert copy.deepcopy([basis])[0] is basis


def test_a_pickle_makes_it_again() -> None:
    basis = basis_of("dct2")
    basis.on(CPU, torch.float32)

    again = pickle.loads(pickle.dumps(basis))

    assert (again.transform, again.shape) == (basis.transform, basis.shape)
    assert np.array_equal(again.entries, basis.entries)
    assert torch.equal(again.on(CPU, torch.float32).plain, basis.on(CPU, torch.float32).plain)


def test_one_first_used_in_inference_mode_can_be_trained_with() -> None:
    basis = basis_of()
    with torch.inference_mode():
        functions.delta_weight([(basis, torch.ones(20))])
    assert not basis.on(CPU, torch.float32).plain.is_inference()
    values = torch.ones(20, requires_grad=True)

    x = torch.ones(3, 10)
    functions.linear(x, None, None, [(basis, values)], "activation").sum().backward()

    assert values.grad is not None


def test_its_entries_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        basis_of().entries[0, 0] = 1
