"""Threads that load, unload and run at once: no wrong row, no crash."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import fourier_format
from fourier_format.adapter import Array
from fourier_format.errors import UnknownAdapterError
from fourier_runtimes import AdapterSession
from fourier_runtimes.living import Binding
from tests.fourier_runtimes.handmade import adapter_for, batch, handmade
from tests.tolerances import SERVED_F32

BASE = handmade(0, 1)
ADAPTERS = {f"n{seed}": adapter_for(BASE, seed, seed % 2, head=seed % 3 == 0) for seed in range(8)}
X = batch(3)
ANSWERS = {name: BASE.answer(X, *[{a: 1.0}] * 3) for name, a in ADAPTERS.items()}
PLAIN = BASE.answer(X, {}, {}, {})
SECONDS = 3.0


def wrong(y: Array, asked: list[str | None]) -> bool:
    rows = zip(y, (PLAIN if name is None else ANSWERS[name] for name in asked), strict=True)
    return any(
        float(np.abs(got - wanted[row]).max() / np.abs(wanted[row]).max()) > SERVED_F32
        for row, (got, wanted) in enumerate(rows)
    )


@pytest.mark.parametrize("binding", ["fed", "bound", "fixed"])
@pytest.mark.parametrize("sourced", [False, True])
def test_rows_are_right_while_adapters_come_and_go(
    binding: Binding, sourced: bool, tmp_path: Path
) -> None:
    for name, adapter in ADAPTERS.items():
        fourier_format.save(adapter, tmp_path / f"{name}.fft")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = AdapterSession(
        BASE.model(),
        session_options=options,
        source=tmp_path if sourced else None,
        folder=tmp_path / "store" if sourced else None,
        binding=binding,
        device_bytes=6 * 2**9,  # of few rows, so that they make room
    )
    end, errors, runs = time.monotonic() + SECONDS / 3, list[Any](), [0]

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while time.monotonic() < end and not errors:
                name = rng.choice(list(ADAPTERS))
                deed = rng.random()
                if deed < 0.15:
                    session.load(ADAPTERS[name], name)
                elif deed < 0.3:
                    forget(session, name)
                else:
                    asked = [rng.choice([name, None, *ADAPTERS]) for _ in range(3)]
                    answered(session, asked, sourced)
                    runs[0] += 1
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.close()

    assert errors == []
    assert runs[0] > 20


def answered(session: AdapterSession, asked: list[str | None], sourced: bool) -> None:
    try:
        (y,) = session.run({"x": X}, asked)
    except UnknownAdapterError:
        assert not sourced
        return
    assert not wrong(y, asked)


def forget(session: AdapterSession, name: str) -> None:
    try:
        session.unload(name)
    except UnknownAdapterError:
        return


def test_this_test_sees_a_wrong_row() -> None:
    session = AdapterSession(BASE.model(), adapters=ADAPTERS)
    (y,) = session.run({"x": X}, ["n1", "n2", None])

    assert not wrong(y, ["n1", "n2", None])
    assert wrong(y, ["n2", "n1", None])
    assert wrong(y, ["n1", "n2", "n3"])
