"""What goes wrong on a session of MiniLM: the error says which, and the others go on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fourier_format
from fourier_format import Adapter
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    InvalidAdapterError,
    ServingError,
    UnknownAdapterError,
    UnsupportedError,
    UsageError,
)
from fourier_runtimes import AdapterSession
from tests.real.checks import compare
from tests.real.serving import Form, alone, batch, form, one_thread, variants
from tests.real.workspace import Array, WorkspaceOf
from tests.tolerances import SERVED_ROWS_F32

pytestmark = pytest.mark.real
_X = batch(3)


@pytest.fixture(scope="module")
def base(workspace_of: WorkspaceOf) -> Form:
    return form(workspace_of("minilm-query-value"), "torchscript")


@pytest.fixture(scope="module")
def adapters(base: Form) -> dict[str, Adapter]:
    return dict(zip(("legal-de", "legal-fr"), variants(base.adapter, 2), strict=True))


@pytest.fixture(scope="module")
def wanted(base: Form, adapters: Mapping[str, Adapter]) -> dict[str, list[Array]]:
    return {name: alone(base.base, adapter, _X) for name, adapter in adapters.items()}


@pytest.fixture
def session(
    base: Form,
    adapters: Mapping[str, Adapter],
    wanted: Mapping[str, list[Array]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AdapterSession]:
    """Returns a session of a plain base that serves two adapters, before the test and after it."""
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    with AdapterSession(
        base.base, session_options=one_thread, adapters=adapters, source=tmp_path / "source"
    ) as made:
        assert_serves(made, wanted)
        yield made
        assert_serves(made, wanted)


def assert_serves(session: AdapterSession, wanted: Mapping[str, list[Array]]) -> None:
    got = session.run(_X, ["legal-de", "legal-fr", "legal-de"])
    for row, name in enumerate(("legal-de", "legal-fr", "legal-de")):
        for mine, theirs in zip(got, wanted[name], strict=True):
            assert compare(theirs[row : row + 1], mine[row : row + 1]) <= SERVED_ROWS_F32


def said(caught: pytest.ExceptionInfo[FourierFormatError], code: str, *words: str) -> None:
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("demanded", [False, True])
@pytest.mark.parametrize("damage", ["bit", "end", "other"])
def test_a_corrupt_adapter(
    damage: str, demanded: bool, session: AdapterSession, base: Form, tmp_path: Path
) -> None:
    data = bytearray(fourier_format.to_bytes(base.adapter))
    data[-100] ^= damage == "bit"
    data = {"end": data[:-7], "other": bytearray(b"PK not ours")}.get(damage, data)
    path = tmp_path / "source" / "torn.fft"
    path.write_bytes(data)

    with pytest.raises(InvalidAdapterError) as caught:
        session.run(_X, ["torn", None, "legal-de"]) if demanded else session.load(path)

    codes = {"bit": "E-DIGEST", "end": "E-CONTAINER-TRUNCATED", "other": "E-CONTAINER-HEADER"}
    said(caught, codes[damage], "torn.fft")
    assert "torn" not in session.names


def test_an_adapter_of_another_base(session: AdapterSession, base: Form) -> None:
    (entries,) = base.adapter.entry_sets
    prints = entries.fingerprints
    assert prints is not None
    other = replace(prints, samples=prints.samples * np.float32(1.001), norm=prints.norm * 1.001)
    stranger = replace(base.adapter, entry_sets=(replace(entries, fingerprints=other),))

    with pytest.raises(BaseMismatchError) as caught:
        session.load(stranger, "stranger")

    said(caught, "E-BASE-MISMATCH", "stranger", "layer.0.attention.self.query")


def test_an_adapter_that_nothing_says_the_base_of(session: AdapterSession, base: Form) -> None:
    (entries,) = base.adapter.entry_sets
    bare = replace(base.adapter, entry_sets=(replace(entries, fingerprints=None),))

    with pytest.raises(BaseMismatchError) as caught:
        session.load(bare, "bare")

    said(caught, "E-BASE-MISMATCH", "bare", "no fingerprint")


@pytest.mark.parametrize("deed", ["run", "unload", "activate"])
def test_an_unknown_name(deed: str, session: AdapterSession) -> None:
    deeds: dict[str, Callable[[], object]] = {
        "run": lambda: session.run(_X, [None, "legal-dd", None]),
        "unload": lambda: session.unload("legal-dd"),
        "activate": lambda: session.activate("legal-dd"),
    }

    with pytest.raises(UnknownAdapterError) as caught:
        deeds[deed]()

    said(caught, "E-ADAPTER-UNKNOWN", "legal-dd", "'legal-de'", "source")


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
def test_a_list_that_does_not_fit_the_batch(rows: int, session: AdapterSession) -> None:
    for asked in (["legal-de"] * rows, [None, "legal-fr", "legal-de", None][:rows]):
        with pytest.raises(UsageError) as caught:
            session.run(_X, asked)

        said(caught, "E-ADAPTER-ROWS", f"{rows} in the list", "3, one for each row")


def test_a_provider_that_is_absent(
    base: Form, adapters: Mapping[str, Adapter], wanted: Mapping[str, list[Array]]
) -> None:
    how: dict[str, Any] = {
        "providers": ["NoSuchExecutionProvider", "CPUExecutionProvider"],
        "session_options": one_thread,
        "adapters": adapters,
    }
    with pytest.warns(UserWarning, match="NoSuchExecutionProvider") as warned:
        session = AdapterSession(base.live, **how)
    with pytest.raises(ServingError) as caught:
        AdapterSession(base.live, strict=True, **how)

    assert len(warned) == 1
    said(caught, "E-PROVIDER-MISSING", "NoSuchExecutionProvider", "strict")
    assert_serves(session, wanted)
    session.close()


def test_a_device_out_of_memory(session: AdapterSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is injected where ONNX Runtime runs: its words, as onnxruntime-gpu has them."""

    def full(*_: Any) -> Any:
        message = (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while "
            "running MatMul node. bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory "
            "for requested buffer of size 1207959552"
        )
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(session.session, "run", full)
        with pytest.raises(ServingError) as caught:
            session.run(_X, "legal-de")

    said(caught, "E-DEVICE-MEMORY", "1207959552", "smaller batches")


def test_more_adapters_in_a_batch_than_the_device_s_tables_hold(
    base: Form, adapters: Mapping[str, Adapter], wanted: Mapping[str, list[Array]]
) -> None:
    more = dict(zip("abc", variants(base.adapter, 3, 5), strict=True))
    row = 4 * 12 * 1000
    with AdapterSession(
        base.live,
        session_options=one_thread,
        adapters=dict(adapters) | more,
        binding="bound",
        device_bytes=3 * row,
    ) as session:
        with pytest.raises(ServingError) as caught:
            session.run(_X, ["a", "b", "c"])

        said(caught, "E-DEVICE-MEMORY", "at most 2", "device_bytes")
        assert_serves(session, wanted)


@pytest.mark.parametrize("live", [False, True])
def test_an_adapter_that_no_live_graph_serves_is_served_merged(
    live: bool, session: AdapterSession, base: Form, workspace_of: WorkspaceOf
) -> None:
    wave = form(workspace_of("minilm-waveft"), "torchscript").adapter
    served = session
    if live:
        served = AdapterSession(base.live, session_options=one_thread)

    with pytest.raises(UnsupportedError) as caught:
        served.load(wave, "wave")
    served.activate("wave", wave)
    got = served.run(_X, "wave")

    said(caught, "E-LIVE-LAYOUT" if live else "E-CONVERSION-UNSUPPORTED", "dwt2", "activate")
    assert "wave" not in served.names
    for mine, theirs in zip(got, alone(base.base, wave, _X), strict=True):
        assert compare(theirs, mine) <= SERVED_ROWS_F32
    if live:
        served.close()


def test_heads_that_differ_in_shape(session: AdapterSession, base: Form) -> None:
    head = np.ones((5, 384), np.float32)
    headed = replace(base.adapter, replacements={"pooler.dense.weight": head})

    with pytest.raises(FourierFormatError) as caught:
        session.load(headed, "headed")

    said(caught, "E-REPLACEMENT-SHAPE", "pooler.dense.weight", "(5, 384)")


_IDS = _X["input_ids"]
_WRONG = {
    "missing": ({"input_ids": _IDS}, "attention_mask"),
    "unknown": (_X | {"token_type": _IDS}, "token_type"),
    "dtype": (_X | {"input_ids": _IDS.astype(np.int32)}, "tensor(int64) input_ids"),
    "rank": (_X | {"input_ids": _IDS[0]}, "input_ids"),
    "range": (_X | {"input_ids": _IDS + 10**6}, "Gather"),
}


@pytest.mark.parametrize(
    ("wrong", "merged"), [*((wrong, False) for wrong in _WRONG), ("dtype", True), ("range", True)]
)
def test_wrong_inputs(wrong: str, merged: bool, session: AdapterSession) -> None:
    inputs, word = _WRONG[wrong]
    if merged:
        session.activate("legal-de", wait=True)

    with pytest.raises(ServingError) as caught:
        session.run(inputs, "legal-de")

    said(caught, "E-RUN-FAILED", word)


def test_inputs_that_disagree_on_the_batch(session: AdapterSession) -> None:
    inputs = _X | {"attention_mask": _X["attention_mask"][:2]}

    with pytest.raises(UsageError) as caught:
        session.run(inputs, ["legal-de"] * 3)

    said(caught, "E-ADAPTER-ROWS", "'batch'", "2 in attention_mask", "3 as in input_ids")


def test_an_output_that_is_not_there(session: AdapterSession) -> None:
    with pytest.raises(ServingError) as caught:
        session.run(_X, "legal-de", ["no_such_output"])

    said(caught, "E-RUN-FAILED", "no_such_output")


def test_a_blend_beyond_float32(session: AdapterSession) -> None:
    with pytest.raises(UnsupportedError) as caught:
        session.run(_X, {"legal-de": 1e38, "legal-fr": 1.0})

    said(caught, "E-NUMBER-NONFINITE", "legal-de + legal-fr")
