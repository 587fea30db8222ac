from __future__ import annotations

import warnings
from typing import Any

import onnxruntime
import pytest

from fourier_format.errors import ServingError
from fourier_runtimes import AdapterSession
from fourier_runtimes.failures import serving_error
from fourier_runtimes.providers import CPU, CUDA, Device, chosen, device_of
from tests.fourier_runtimes.handmade import adapter_for, batch, handmade
from tests.fourier_runtimes.test_session import off
from tests.tolerances import SERVED_F32

BASE = handmade(0)
A = adapter_for(BASE, 1)


def test_an_absent_provider_is_warned_of_once_and_the_cpu_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider cannot be used") as caught:
        session = AdapterSession(BASE.model(), providers=[CUDA], adapters={"a": A})
    x = batch(2)

    (y,) = session.run({"x": x}, ["a", None])

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert off(y, BASE.answer(x, {A: 1}, {})) < SERVED_F32


def test_an_absent_provider_is_an_error_where_it_must_be_there() -> None:
    with pytest.raises(ServingError) as caught:
        AdapterSession(BASE.model(), providers=["NoSuchExecutionProvider"], strict=True)

    assert caught.value.code == "E-PROVIDER-MISSING"


def test_a_provider_that_the_session_did_not_get_is_no_silent_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    available = [CUDA, CPU]  # as the package of a machine without a driver says
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    make = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, options, **_: make(model, options, providers=[CPU]),
    )

    with pytest.raises(ServingError) as caught:
        AdapterSession(BASE.model(), providers=[CUDA], strict=True)
    with pytest.warns(UserWarning, match="does not work on this machine"):
        session = AdapterSession(BASE.model(), providers=[CUDA], adapters={"a": A})

    assert caught.value.code == "E-PROVIDER-MISSING"
    x = batch(1)
    assert off(session.run({"x": x}, "a")[0], BASE.answer(x, {A: 1})) < SERVED_F32


def test_the_cpu_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chosen(None, strict=True) == [CPU]
        assert chosen([CPU], strict=True) == [CPU]


@pytest.mark.parametrize(
    ("provider", "device"),
    [
        (CPU, Device()),
        (CUDA, Device("cuda")),
        ((CUDA, {"device_id": 2}), Device("cuda", 2)),
        ((CUDA, {"enable_cuda_graph": "1"}), Device("cuda", 0, graphs=True)),
        ((CUDA, {"enable_cuda_graph": True}), Device("cuda", 0, graphs=True)),
        ((CUDA, {"enable_cuda_graph": "0"}), Device("cuda")),
    ],
)
def test_the_first_provider_says_where_values_lie(provider: Any, device: Device) -> None:
    assert device_of([provider, CPU]) == device


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("CUDA failure 2: out of memory ; GPU=0", "E-DEVICE-MEMORY"),
        ("BFCArena::AllocateRawInternal Available memory of 12 is smaller", "E-DEVICE-MEMORY"),
        ("Failed to allocate memory for requested buffer of size 99", "E-DEVICE-MEMORY"),
        ("CUDA failure 100: no CUDA-capable device is detected", "E-PROVIDER-MISSING"),
        ("Error loading libonnxruntime_providers_cuda.so", "E-PROVIDER-MISSING"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", "E-RUN-FAILED"),
    ],
)
def test_messages_of_onnx_runtime_have_codes(message: str, code: str) -> None:
    assert serving_error("run", RuntimeError(message)).code == code
    assert serving_error("run", MemoryError()).code == "E-DEVICE-MEMORY"
