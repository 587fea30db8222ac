"""PEFT's WaveFT, read and written: what is asserted here, PEFT itself says."""
# ruff: noqa: TID251 -- PEFT is what the checkpoints come from

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.tuners.waveft.constants import WAVELET_REDUCTIONS
from peft.tuners.waveft.wavelet import Wavelet

import fourier_format
from fourier_converters.peft import to_peft
from fourier_format import Adapter
from fourier_format.errors import UnsupportedError
from fourier_format.wavelets import LOW_PASS
from tests.fourier_converters.adapters import delta, replaced, without_prints
from tests.fourier_converters.checkpoints import (
    config,
    read_tensors,
    spectrum,
    write_base,
    write_peft,
)
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.peft.test_in_peft import Net, assert_deltas, matrix, merged
from tests.tolerances import DELTA_F32

FAMILIES = [name.removesuffix("-peft") for name in LOW_PASS]
MODEL, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SUFFIX = ".waveft_spectrum"


def trained(folder: Path, **settings: Any) -> Path:
    """Returns the folder of a checkpoint that PEFT saved, all that it trains moved."""
    settings = {"n_frequency": 11, "target_modules": ["query", "up"]} | settings
    model = peft.get_peft_model(Net(), peft.WaveFTConfig(init_weights=False, **settings))
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter)
    model.save_pretrained(folder / "peft")
    return folder / "peft"


def base_of(net: Net, folder: Path) -> Path:
    return write_base(folder / "base", {n: matrix(net, n) for n, _ in net.named_parameters()})


def imported(source: Path, folder: Path) -> Adapter:
    converted(source, "--to", "fft", "--base", base_of(Net(), folder), "-o", folder / "a.fft")
    return fourier_format.load(folder / "a.fft")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_means_what_it_means_in_peft(family: str, tmp_path: Path) -> None:
    source = trained(tmp_path, wavelet_family=family)

    whole = imported(source, tmp_path)

    assert whole.transform.removesuffix("-peft") == f"dwt2:{family}"
    assert_deltas(Net(), merged(Net(), source), whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_registered_filters_are_pefts(family: str) -> None:
    name = family if family in LOW_PASS else f"{family}-peft"

    assert list(LOW_PASS[name]) == Wavelet(family).rec_lo


@pytest.mark.parametrize("family", sorted(set(WAVELET_REDUCTIONS) - set(FAMILIES)))
def test_peft_cannot_compute_any_other_wavelet(family: str) -> None:
    """Once it can, the registry has something to add."""
    model = peft.get_peft_model(
        Net(), peft.WaveFTConfig(n_frequency=3, target_modules=["up"], wavelet_family=family)
    )

    with pytest.raises((ValueError, RuntimeError)):
        model.merge_and_unload()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 8), (33, 40)], ids=str)
@pytest.mark.parametrize("family", ["db1", "db3", "sym4", "coif4", "db10"])
def test_every_shape_means_what_it_means_in_peft(
    family: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    out, in_ = shape
    net = torch.nn.ModuleDict({"q": torch.nn.Linear(in_, out, bias=False)})
    n = min(40, out * in_)
    settings = peft.WaveFTConfig(
        n_frequency=n, target_modules=["q"], wavelet_family=family, init_weights=False
    )
    model = peft.get_peft_model(net, settings)
    model.save_pretrained(tmp_path / "peft")
    layer = model.base_model.model["q"]
    base = {"q.weight": layer.base_layer.weight.detach().numpy().copy()}
    path = write_base(tmp_path / "base", base)

    converted(tmp_path / "peft", "--to", "fft", "--base", path, "-o", tmp_path / "a.fft")

    whole = fourier_format.load(tmp_path / "a.fft")
    expected = layer.get_delta_weight("default").detach().numpy().astype(np.float64)
    got = fourier_format.delta_weight(whole, "q", np.float64)
    assert np.abs(got - expected).max() <= DELTA_F32 * np.abs(expected).max()
    assert np.abs(got - delta(whole, "q")).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"wavelet_family": "coif4", "scaling": 7.0, "random_loc_seed": 5},
        {"n_frequency_pattern": {r"0\.query": 3, "up": 20}},
        {"proportional_parameters": True},
        {"bias": "waveft_only", "modules_to_save": ["head"]},
        {"bias": "all"},
    ],
    ids=str,
)
def test_a_checkpoint_comes_back_as_it_was(settings: dict[str, Any], tmp_path: Path) -> None:
    source = trained(tmp_path, **settings)
    imported(source, tmp_path)

    converted(tmp_path / "a.fft", "--to", "peft", "-o", tmp_path / "back")

    assert read_tensors(tmp_path / "back" / MODEL) == read_tensors(source / MODEL)
    assert (tmp_path / "back" / CONFIG).read_bytes() == (source / CONFIG).read_bytes()


def test_proportional_counts_are_those_of_the_file(tmp_path: Path) -> None:
    source = trained(tmp_path, proportional_parameters=True, n_frequency=9)

    whole = imported(source, tmp_path)

    counts = {t.name: whole.entry_set(t).count for t in whole.targets}
    tensors = read_tensors(source / MODEL)
    for name, count in counts.items():
        assert tensors[f"base_model.model.{name}{SUFFIX}"][1] == [count]
    assert len(set(counts.values())) > 1
    assert_deltas(Net(), merged(Net(), source), whole)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_changed_adapter_of_proportional_counts_loads_in_peft(
    dropped: bool, tmp_path: Path
) -> None:
    """Without one of the layers, PEFT would share the coefficients in another way."""
    whole = imported(trained(tmp_path, proportional_parameters=True, n_frequency=9), tmp_path)
    if dropped:
        gone = whole.targets[-1].entries
        targets = tuple(t for t in whole.targets if t.entries != gone)
        sets = tuple(s for s in whole.entry_sets if s.id != gone)
        whole = replaced(whole, targets=targets, entry_sets=sets)
    whole = replaced(whole, alpha=3.0)

    to_peft(whole, tmp_path / "back")

    settings = json.loads((tmp_path / "back" / CONFIG).read_text("utf-8"))
    assert settings["proportional_parameters"] is False
    assert_deltas(Net(), merged(Net(), tmp_path / "back"), whole)


@pytest.mark.parametrize("transform", ["dwt2:db2", "dwt2:coif4-peft"])
def test_an_adapter_without_a_peft_origin_means_the_same_there(
    transform: str, tmp_path: Path
) -> None:
    names = ("blocks.0.query", "blocks.1.query", "blocks.1.up")
    weights = {name: matrix(Net(), f"{name}.weight") for name in names}
    whole = without_prints(weights, transform=transform)

    to_peft(whole, tmp_path / "peft")

    assert_deltas(Net(), merged(Net(), tmp_path / "peft"), whole)


def test_an_origin_of_the_other_method_is_not_written_back(tmp_path: Path) -> None:
    whole = without_prints({"blocks.0.query": matrix(Net(), "blocks.0.query.weight")})
    origin = {"format": "peft", "text": json.dumps(config(target_modules=["query"]))}

    to_peft(replaced(whole, transform="dwt2:db1", origin=origin), tmp_path / "peft")

    settings = json.loads((tmp_path / "peft" / CONFIG).read_text("utf-8"))
    assert settings["peft_type"] == "WAVEFT"
    assert settings["wavelet_family"] == "db1"


def test_an_origin_of_another_wavelet_is_mended(tmp_path: Path) -> None:
    whole = imported(trained(tmp_path, wavelet_family="db2"), tmp_path)

    to_peft(replaced(whole, transform="dwt2:db3"), tmp_path / "back")

    settings = json.loads((tmp_path / "back" / CONFIG).read_text("utf-8"))
    assert settings["wavelet_family"] == "db3"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_idwt": False}, ("use_idwt is off", "[E-CONVERSION-UNSUPPORTED]")),
        ({"wavelet_family": "db11"}, ("cannot compute", "'db11'", "[E-PEFT-CONFIG]")),
        ({"wavelet_family": "coif5"}, ("cannot compute", "'coif5'", "[E-PEFT-CONFIG]")),
        ({"wavelet_family": "coif4-peft"}, ("cannot compute", "[E-PEFT-CONFIG]")),
        ({"wavelet_family": 3}, ("cannot compute", "got 3", "[E-PEFT-CONFIG]")),
        ({"n_frequency": 4}, ("the number of coefficients", "[E-PEFT-CONFIG]")),
        ({"peft_type": "FOURIERFT"}, ("no tensor ends in .fourierft_spectrum", "[E-PEFT-CONFIG]")),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(
    settings: dict[str, Any], words: tuple[str, ...], tmp_path: Path, capsys: Captured
) -> None:
    tensors = {k.replace(".fourierft_spectrum", SUFFIX): v for k, v in spectrum("query").items()}
    whole = config(peft_type="WAVEFT", wavelet_family="db1") | settings
    source = write_peft(tmp_path / "peft", tensors, whole)
    base = write_base(tmp_path / "base", {"query.weight": weight()})

    lines = refused(capsys, source, "--to", "fft", "--base", base)

    assert all(word in " ".join(lines) for word in words)
    assert not list(tmp_path.glob("*.fft"))


@pytest.mark.parametrize("mean", ["5", None, 1.5, True, [3]])
def test_an_origin_whose_counts_are_no_numbers_is_replaced(mean: object, tmp_path: Path) -> None:
    whole = without_prints({"blocks.0.query": matrix(Net(), "blocks.0.query.weight")})
    text = json.dumps(
        config(peft_type="WAVEFT", proportional_parameters=True, n_frequency=mean, scaling=10.0)
    )
    whole = replaced(whole, transform="dwt2:db1", origin={"format": "peft", "text": text})

    to_peft(whole, tmp_path / "peft")

    assert_deltas(Net(), merged(Net(), tmp_path / "peft"), whole)


@pytest.mark.parametrize("transform", ["dct2", "dht2"])
def test_transforms_that_peft_does_not_have_are_refused(transform: str, tmp_path: Path) -> None:
    whole = without_prints({"q": weight()}, transform=transform)

    with pytest.raises(UnsupportedError) as caught:
        to_peft(whole, tmp_path / "peft")

    (violation,) = caught.value.violations
    assert (violation.where, violation.got) == ("transform", transform)
    assert violation.code == "E-PEFT-INEXPRESSIBLE"


def test_every_module_has_a_coefficient_whatever_its_share(tmp_path: Path) -> None:
    net = torch.nn.ModuleDict({"q": torch.nn.Linear(30, 30), "k": torch.nn.Linear(1, 1)})
    settings = peft.WaveFTConfig(
        n_frequency=2, target_modules=["q", "k"], proportional_parameters=True, init_weights=False
    )
    peft.get_peft_model(net, settings).save_pretrained(tmp_path / "peft")
    base = {f"{name}.weight": weight(size, size) for name, size in (("q", 30), ("k", 1))}
    path = write_base(tmp_path / "base", base)

    converted(tmp_path / "peft", "--to", "fft", "--base", path, "-o", tmp_path / "a.fft")
    converted(tmp_path / "a.fft", "--to", "peft", "-o", tmp_path / "back")

    whole = fourier_format.load(tmp_path / "a.fft")
    assert {t.name: whole.entry_set(t).count for t in whole.targets} == {"q": 4, "k": 1}
    assert (tmp_path / "back" / CONFIG).read_bytes() == (tmp_path / "peft" / CONFIG).read_bytes()
