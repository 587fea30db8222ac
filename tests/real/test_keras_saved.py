"""Adapters merged into what Keras saved, held to Keras with kernels changed by a float64 delta.

Keras saves the models, loads what was merged, and computes both sides.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fourier_converters.keras import to_keras
from fourier_converters.keras.base import open_base
from fourier_converters.keras.hdf5 import read_structure
from fourier_converters.keras.layers import read_layers
from fourier_converters.keras.variables import variables_of
from fourier_format.dtypes import round_once
from tests.fourier_converters.adapters import delta, replaced
from tests.real.checks import effects, figures, worst
from tests.real.keras_saved import CASES, DTYPES, SAVED, SavedOf, adapter_for, stored
from tests.tolerances import KERAS_EFFECT_F32, KERAS_KERNEL_F32, KERAS_OUTPUT_F32

pytestmark = pytest.mark.real
_WITH_EQUATIONS = ("text", "image", "nested", "sequential")


@pytest.mark.parametrize(("name", "form"), CASES)
def test_loaded_by_keras_it_computes_what_keras_does(
    name: str, form: str, keras_saved_of: SavedOf
) -> None:
    outputs = keras_saved_of(name).outputs()

    got, expected, base = (outputs[key] for key in (form, "adapted", "base"))

    output = worst([expected], [got])
    effect = worst(effects([expected], [base]), effects([got], [base]))
    figures.info("%s %s: output %.1e, effect %.1e", name, form, output, effect)
    if name in DTYPES:
        assert np.array_equal(got, expected)
    else:
        assert output <= KERAS_OUTPUT_F32
        assert effect <= KERAS_EFFECT_F32


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_kernel_is_the_float64_sum(name: str, form: str, keras_saved_of: SavedOf) -> None:
    saved = keras_saved_of(name)
    whole, kernels = adapter_for(saved), saved.kernels()
    report = json.loads(saved.merged("keras").with_name(f"{form}.json").read_text())
    with open_base(saved.merged(form)) as base:
        merged = {path: v.dataset.array() for path, v in base.variables.items()}

    places = {row["target"]: row["found"].partition(" ")[0] for row in report["rows"]}

    assert set(places) == set(kernels)
    for path, kernel in kernels.items():
        wide = kernel.array.astype(np.float64) + stored(kernel, delta(whole, path))
        expected = round_once(wide, DTYPES.get(name, "F32"))
        got = merged[places[path]]
        if name in DTYPES:
            assert np.array_equal(got, expected)
        else:
            assert np.abs(got - expected).max() <= KERAS_KERNEL_F32 * np.abs(expected).max()


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("form", ["keras", "weights"])
def test_found_by_name_and_confirmed_by_fingerprint(
    name: str, form: str, keras_saved_of: SavedOf
) -> None:
    saved = keras_saved_of(name)
    report = json.loads(saved.merged("keras").with_name(f"{form}.json").read_text())

    assert {row["evidence"] for row in report["rows"]} == {"name + fingerprint"}


@pytest.mark.parametrize("name", SAVED)
def test_all_else_in_an_archive_is_as_it_was(name: str, keras_saved_of: SavedOf) -> None:
    saved = keras_saved_of(name)

    with (
        zipfile.ZipFile(saved.base("keras")) as base,
        zipfile.ZipFile(saved.merged("keras")) as merged,
    ):
        assert merged.namelist() == base.namelist()
        members = [member for member in base.namelist() if member != "model.weights.h5"]
        assert [merged.read(m) for m in members] == [base.read(m) for m in members]


@pytest.mark.parametrize("name", SAVED)
def test_all_other_bytes_of_the_weights_are_as_they_were(
    name: str, keras_saved_of: SavedOf
) -> None:
    saved = keras_saved_of(name)
    report = json.loads(saved.merged("keras").with_name("weights.json").read_text())
    changed = {row["found"].partition(" ")[0] for row in report["rows"]}
    with open_base(saved.base("weights")) as base:
        datasets = {path: v.dataset for path, v in base.variables.items()}
    before, after = (bytearray(saved.base("weights").read_bytes()), saved.merged("weights"))
    now = bytearray(after.read_bytes())

    for path in changed:
        dataset = datasets[path]
        start = dataset.offset or 0
        assert before[start : start + dataset.size] != now[start : start + dataset.size]
        before[start : start + dataset.size] = now[start : start + dataset.size]

    assert before == now


@pytest.mark.parametrize("name", SAVED)
def test_the_names_of_another_framework_are_found_by_fingerprint(
    name: str, keras_saved_of: SavedOf, tmp_path: Path
) -> None:
    """As torch would name and call them: an EinsumDense is a Linear there."""
    saved = keras_saved_of(name)
    whole = adapter_for(saved)
    kinds = {"einsum_dense": "linear"}
    targets = tuple(
        replaced(t, name=f"layers.{i}", kind=kinds.get(t.kind, t.kind))
        for i, t in enumerate(whole.targets)
    )
    foreign = replaced(whole, targets=targets)

    report = to_keras(foreign, saved.base("keras"), tmp_path / "merged.keras")

    assert {row.evidence for row in report.rows} == {"fingerprint"}
    assert _weights(tmp_path / "merged.keras") == _weights(saved.merged("keras"))


@pytest.mark.parametrize("name", _WITH_EQUATIONS)
def test_without_fingerprints_names_and_the_config_are_enough(
    name: str, keras_saved_of: SavedOf, tmp_path: Path
) -> None:
    saved = keras_saved_of(name)
    whole = adapter_for(saved)
    sets = tuple(replaced(s, fingerprints=None) for s in whole.entry_sets)

    report = to_keras(
        replaced(whole, entry_sets=sets), saved.base("keras"), tmp_path / "merged.keras"
    )

    assert {row.evidence for row in report.rows} == {"name"}
    assert _weights(tmp_path / "merged.keras") == _weights(saved.merged("keras"))


@pytest.mark.parametrize("name", ["text", "image", "nested", "sequential", "half"])
def test_files_without_names_of_layers_get_them_from_the_config(
    name: str, keras_saved_of: SavedOf
) -> None:
    """Older versions of Keras 3 wrote no names into the weights."""
    saved = keras_saved_of(name)
    with open_base(saved.base("keras")) as base, zipfile.ZipFile(saved.base("keras")) as archive:
        nameless = replaced(read_structure(base.files[0]), names={})
        config = archive.read("config.json")

    found = {v.path: v.layer for v in variables_of([nameless], read_layers(config))}

    for path, variable in base.variables.items():
        within = variable.described.class_name is None
        assert found[path] == variable.layer or (within and found[path] is None)
    assert any(found.values())


def _weights(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("model.weights.h5")
