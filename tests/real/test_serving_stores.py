"""Stores and sources of adapters under a session of MiniLM."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import fourier_format
from fourier_format import Adapter
from fourier_format.errors import InvalidAdapterError, UnknownAdapterError
from fourier_runtimes import AdapterSession
from fourier_runtimes.tables import Precision
from tests.real.checks import compare, figures
from tests.real.serving import Form, alone, batch, form, one_thread, variants
from tests.real.stress import resident_mib
from tests.real.workspace import Array, WorkspaceOf
from tests.tolerances import SERVED_ROWS_F16, SERVED_ROWS_F32

pytestmark = pytest.mark.real
_X = batch(2)
_NAMES = ("legal", "support")


@pytest.fixture(scope="module")
def base(workspace_of: WorkspaceOf) -> Form:
    return form(workspace_of("minilm-query-value"), "torchscript")


@pytest.fixture(scope="module")
def adapters(base: Form) -> dict[str, Adapter]:
    return dict(zip(_NAMES, variants(base.adapter, 2), strict=True))


@pytest.fixture(scope="module")
def wanted(base: Form, adapters: Mapping[str, Adapter]) -> dict[str, Sequence[Array]]:
    return {name: alone(base.base, adapter, _X) for name, adapter in adapters.items()}


@pytest.fixture
def memory(adapters: Mapping[str, Adapter]) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    for name, adapter in adapters.items():
        with system.open(f"/minilm/{name}.fft", "wb") as file:
            file.write(fourier_format.to_bytes(adapter))
    yield "memory://minilm"
    system.rm("/minilm", recursive=True)


def error(session: AdapterSession, wanted: Mapping[str, Sequence[Array]]) -> float:
    """Return how far a row of each adapter is off."""
    got = session.run(_X, list(_NAMES))
    return max(
        compare(wanted[name][output][row : row + 1], mine[row : row + 1])
        for row, name in enumerate(_NAMES)
        for output, mine in enumerate(got)
    )


def saved(adapters: Mapping[str, Adapter], folder: Path) -> Path:
    folder.mkdir()
    for name, adapter in adapters.items():
        fourier_format.save(adapter, folder / f"{name}.fft")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("remote", [False, True])
def test_rows_ask_for_adapters_that_only_a_source_has(
    remote: bool,
    dtype: Precision,
    base: Form,
    adapters: Mapping[str, Adapter],
    wanted: Mapping[str, Sequence[Array]],
    memory: str,
    tmp_path: Path,
) -> None:
    source = memory if remote else saved(adapters, tmp_path / "source")
    with AdapterSession(
        base.live, session_options=one_thread, source=source, dtype=dtype
    ) as session:
        assert session.names == []
        off = error(session, wanted)

        with pytest.raises(UnknownAdapterError, match="'legal'"):
            session.run(_X, "legals")
        session.unload("legal")
        assert error(session, wanted) == off

    figures.info("%s: %.1e", dtype, off)
    assert off <= (SERVED_ROWS_F32 if dtype == "float32" else SERVED_ROWS_F16)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_folder_has_its_adapters_again(
    dtype: Precision,
    base: Form,
    adapters: Mapping[str, Adapter],
    wanted: Mapping[str, Sequence[Array]],
    tmp_path: Path,
) -> None:
    files = saved(adapters, tmp_path / "files")
    how: dict[str, Any] = {"session_options": one_thread, "dtype": dtype}
    how["folder"] = tmp_path / "store"
    with AdapterSession(base.live, adapters=sorted(files.iterdir()), **how) as session:
        first = error(session, wanted)
    for path in files.iterdir():
        path.unlink()

    with AdapterSession(base.live, **how) as session:
        assert session.names == list(_NAMES)
        assert error(session, wanted) == first
    assert first <= (SERVED_ROWS_F32 if dtype == "float32" else SERVED_ROWS_F16)


def test_what_was_changed_in_a_folder_is_not_served_and_the_rest_is(
    base: Form,
    adapters: Mapping[str, Adapter],
    wanted: Mapping[str, Sequence[Array]],
    tmp_path: Path,
) -> None:
    how: dict[str, Any] = {"session_options": one_thread, "folder": tmp_path / "store"}
    with AdapterSession(base.live, adapters=adapters, **how):
        pass
    (table,) = (tmp_path / "store").glob("*.f32")
    with table.open("r+b") as file:
        file.write(b"\x00\x00\x80\x3f")

    with AdapterSession(base.live, **how) as session:
        with pytest.raises(InvalidAdapterError, match="legal") as caught:
            session.run(_X, list(_NAMES))
        (got, *_) = session.run(_X, "support")
        session.load(adapters["legal"], "legal")
        assert error(session, wanted) <= SERVED_ROWS_F32

    assert caught.value.code == "E-DIGEST"
    assert compare(wanted["support"][0], got) <= SERVED_ROWS_F32


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
def test_a_thousand_adapters_take_little_more_than_their_coefficients(
    dtype: Precision, size: int, base: Form, tmp_path: Path
) -> None:
    """What the process has more than before is counted, whatever it is for; some are a warm-up."""
    first, count = 200, 1200
    paths = written(base.adapter, tmp_path, count)
    with AdapterSession(base.live, session_options=one_thread, dtype=dtype) as session:
        session.load_all(paths[:first])
        gc.collect()
        before = resident_mib()
        session.load_all(paths[first:])
        gc.collect()
        added = resident_mib() - before

    (entries,) = base.adapter.entry_sets
    coefficients = entries.coefficients.size * size * (count - first) / 2**20
    figures.info("%s: %.1f MiB for %.1f of coefficients", dtype, added, coefficients)
    assert added <= 1.2 * coefficients


def written(adapter: Adapter, folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    (entries,) = adapter.entry_sets
    paths = []
    for number in range(count):
        drawn = rng.standard_normal(entries.coefficients.shape, np.float32)
        other = replace(adapter, entry_sets=(replace(entries, coefficients=drawn),))
        paths.append(folder / f"a{number}.fft")
        paths[-1].write_bytes(fourier_format.to_bytes(other))
    return paths
