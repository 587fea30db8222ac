"""What CUDA needs, on the CPU: the same code with device "cpu"."""

from __future__ import annotations

import threading
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from fourier_format.adapter import Array
from fourier_format.errors import ServingError, UsageError
from fourier_format.live import fit
from fourier_runtimes import AdapterSession
from fourier_runtimes.devices import DeviceTables
from fourier_runtimes.living import Binding
from fourier_runtimes.providers import CPU, Device
from fourier_runtimes.rows import parsed
from fourier_runtimes.runners import FixedRunner
from fourier_runtimes.store import Store
from tests.fourier_runtimes.handmade import WIDTH, adapter_for, bank_input, batch, handmade
from tests.fourier_runtimes.test_session import off
from tests.tolerances import SERVED_F16, SERVED_F32

BASE = handmade(0, 1)
FIRST, SECOND = (bank_input(entries) for entries in BASE.banks)
ROW_BYTES = 4 * (2 * 2 * 12 + 3 * WIDTH)
ADAPTERS = [adapter_for(BASE, seed, seed % 2) for seed in range(6)]


def tables_of(rows: int) -> tuple[Store, DeviceTables]:
    store = Store(BASE.interface)
    for seed, adapter in enumerate(ADAPTERS):
        store.put(f"n{seed}", fit(adapter, BASE.interface, "x"), 1.0)
    tables = DeviceTables(store, store.interface, Device(), [CPU], rows * ROW_BYTES)
    assert tables.capacity == rows
    return store, tables


def gathered(tables: DeviceTables, asked: Any) -> dict[str, Array]:
    rows = parsed(asked)
    found = tables.gather(rows.blends, rows.indices)
    return {name: value.numpy() for name, value in found.items()}


def same(found: dict[str, Array], store: Store, asked: Any) -> bool:
    wanted = store.gather(parsed(asked))
    return found.keys() == wanted.keys() and all(
        np.array_equal(values, wanted[name]) for name, values in found.items()
    )


def test_the_device_has_the_rows_that_the_store_has() -> None:
    store, tables = tables_of(8)

    for asked in (["n0", None, "n1", "n0"], "n2", [{"n0": 0.5, "n3": 2}, "n3"]):
        assert same(gathered(tables, asked), store, asked)


def test_rows_that_were_asked_for_longest_ago_make_room() -> None:
    store, tables = tables_of(4)
    rng = np.random.default_rng(0)

    for _ in range(40):
        asked = [f"n{seed}" for seed in rng.permutation(6)[:3]]
        assert same(gathered(tables, asked), store, asked)


def test_a_batch_of_more_adapters_than_the_device_holds_is_refused() -> None:
    store, tables = tables_of(3)

    with pytest.raises(ServingError) as caught:
        gathered(tables, ["n0", "n1", "n2"])

    assert caught.value.code == "E-DEVICE-MEMORY"
    assert same(gathered(tables, ["n0", "n1"]), store, ["n0", "n1"])


def test_a_row_that_could_not_be_written_is_not_taken_for_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, tables = tables_of(3)
    gathered(tables, ["n0", "n1"])
    write = tables._write

    def failing(slot: int, values: Any) -> None:
        write(slot, {})
        message = "CUDA failure 2: out of memory"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_write", failing)
        with pytest.raises(RuntimeError):
            gathered(tables, ["n2", "n3"])

    for asked in (["n2", "n3"], ["n0", "n1"], ["n4", "n0"]):
        assert same(gathered(tables, asked), store, asked)


def test_a_device_out_of_memory_is_said_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = AdapterSession(BASE.model(), binding="bound")
    session.load(ADAPTERS[0], "a")
    session.load(ADAPTERS[2], "b")
    x = batch(1)
    session.run({"x": x}, "a")

    def failing(*_: object) -> None:
        message = "Available memory of 0 is smaller than requested: BFCArena failed to allocate"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(DeviceTables, "_write", failing)
        with pytest.raises(ServingError) as caught:
            session.run({"x": x}, "b")
        (y,) = session.run({"x": x}, "a")

    assert caught.value.code == "E-DEVICE-MEMORY"
    assert off(y, BASE.answer(x, {ADAPTERS[0]: 1})) < SERVED_F32


@pytest.mark.parametrize("static", [False, True])
def test_buffers_of_fixed_shapes_are_made_once_and_used_again(static: bool) -> None:
    base = handmade(0, 1, static=static)
    adapters = {f"n{seed}": adapter_for(base, seed, seed % 2, head=True) for seed in range(4)}
    session = AdapterSession(base.model(), binding="fixed")
    for name, adapter in adapters.items():
        session.load(adapter, name)
    answers = []
    for turn in range(4):
        x = batch(3, seed=turn)
        asked = [f"n{turn}", None, "n1"]
        (y,) = session.run({"x": x}, asked)
        rows = [{} if name is None else {adapters[name]: 1.0} for name in asked]
        answers.append((y, base.answer(x, *rows)))
    x = batch(2)
    answers.append((session.run({"x": x}, "n1")[0], base.answer(x, *[{adapters["n1"]: 1}] * 2)))

    assert max(off(y, wanted) for y, wanted in answers) < SERVED_F32
    assert session._growing.live
    runner = session._growing.live.runner
    assert isinstance(runner, FixedRunner)
    assert len(runner._fixed) == 2


def test_more_shapes_than_are_kept_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourier_runtimes.runners._MAX_FIXED", 2)
    session = AdapterSession(BASE.model(), binding="fixed")
    session.load(ADAPTERS[0], "a")

    for rows in (1, 2, 3, 4, 1):
        x = batch(rows)
        (y,) = session.run({"x": x}, ["a"] * rows)
        assert off(y, BASE.answer(x, *[{ADAPTERS[0]: 1}] * rows)) < SERVED_F32


@pytest.mark.parametrize("binding", ["fed", "bound", "fixed"])
def test_a_static_graph_is_served_as_well(binding: Binding) -> None:
    base = handmade(0, static=True)
    adapter = adapter_for(base, 3, head=True)
    session = AdapterSession(base.model(), binding=binding)
    session.load(adapter, "a")
    x = batch(3)

    (none,) = session.run({"x": x})
    (some,) = session.run({"x": x}, ["a", None, {"a": -1}])

    assert off(none, base.answer(x, {}, {}, {})) < SERVED_F32
    assert off(some, base.answer(x, {adapter: 1}, {}, {adapter: -1})) < SERVED_F32


@pytest.mark.parametrize("binding", ["fed", "bound", "fixed"])
def test_a_float16_base_takes_float32_coefficients(binding: Binding) -> None:
    base = handmade(0, half=True)
    adapter = adapter_for(base, 3, head=True)
    session = AdapterSession(base.model(), binding=binding)
    session.load(adapter, "a")
    x = batch(2).astype(np.float16)

    (y,) = session.run({"x": x}, ["a", None])

    assert y.dtype == np.float16
    assert off(y, base.answer(x, {adapter: 1}, {})) < SERVED_F16
    assert np.array_equal(session.run({"x": x})[0], session.session.run(None, {"x": x})[0])


def test_bfloat16_goes_in_and_comes_out() -> None:
    session = AdapterSession(_bfloat16_model())
    x = np.linspace(-3, 3, 12).reshape(3, 4).astype(ml_dtypes.bfloat16)

    (y,) = session.run({"x": x})

    assert y.dtype == ml_dtypes.bfloat16
    assert np.array_equal(y, (x.astype(np.float32) * 2).astype(ml_dtypes.bfloat16))


def test_inputs_may_be_ort_values() -> None:
    x = batch(2)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    for binding in ("fed", "bound", "fixed"):
        session = AdapterSession(BASE.model(), binding=binding)
        session.load(ADAPTERS[0], "a")

        (y,) = session.run({"x": value}, ["a", None])

        assert off(y, BASE.answer(x, {ADAPTERS[0]: 1}, {})) < SERVED_F32


def test_outputs_of_an_earlier_run_do_not_change() -> None:
    for binding in ("fed", "bound", "fixed"):
        session = AdapterSession(BASE.model(), binding=binding)
        session.load(ADAPTERS[0], "a")
        (first,) = session.run({"x": batch(2)}, "a")
        kept = first.copy()

        session.run({"x": batch(2, seed=8)}, "a")

        assert np.array_equal(first, kept)


def test_cuda_graphs_need_a_graph_without_control_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourier_runtimes.living.device_of", lambda _: Device(graphs=True))

    with pytest.raises(UsageError, match="--static"):
        AdapterSession(BASE.model())

    base = handmade(0, static=True)
    adapter = adapter_for(base, 3)
    session = AdapterSession(base.model(), adapters={"a": adapter})
    x = batch(2)
    assert off(session.run({"x": x}, ["a", None])[0], base.answer(x, {adapter: 1}, {})) < SERVED_F32


def _bfloat16_model() -> bytes:
    kind, single = TensorProto.BFLOAT16, TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=single),
        helper.make_node("Add", ["wide", "wide"], ["twice"]),
        helper.make_node("Cast", ["twice"], ["y"], to=kind),
    ]
    x, y = (helper.make_tensor_value_info(name, kind, ["batch", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_an_adapter_that_is_replaced_in_between_is_gathered_whole() -> None:
    """The old one feeds one input, the new one two: both are of one moment."""
    store, tables = tables_of(8)
    headed = fit(adapter_for(BASE, 9, head=True), BASE.interface, "x")
    touched = store.touched
    others: list[threading.Thread] = []

    def meanwhile(blends: Any) -> list[str]:
        found = touched(blends)
        others.append(threading.Thread(target=store.put, args=("n0", headed, 1.0)))
        others[-1].start()
        others[-1].join(0.1)
        return found

    store.touched = meanwhile  # type: ignore[method-assign]
    got = gathered(tables, "n0")
    store.touched = touched  # type: ignore[method-assign]

    old = {FIRST: fit(ADAPTERS[0], BASE.interface, "x")[FIRST]}
    assert any(
        got.keys() == wanted.keys() and all(np.array_equal(got[i][0], wanted[i]) for i in wanted)
        for wanted in (old, headed)
    )
    for other in others:
        other.join()
    assert gathered(tables, "n0").keys() == headed.keys()
