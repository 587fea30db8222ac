"""Measures what an adapter costs in ONNX Runtime: query and value of one input, in each form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from experiments.cost import work
from experiments.cost.benches import forms_graphs, serve_arms, serve_cases, serve_lora
from experiments.cost.timing import Job, in_turn
from experiments.trial import Context, Json
from fourier_converters.onnx.live.spectrum import is_by_token
from fourier_runtimes import costs

_SAMPLE = 0.03
_LORA_MOVED = 2 + work.ADD_STATES  # times tokens x width: x is read, the product written, added
Setup = serve_arms.Setup


def measured(
    width: int, rows: int, tokens: int, sizes: Sequence[int], ranks: Sequence[int], rounds: int,
    context: Context,
) -> Json:  # fmt: skip
    """Returns for each form seconds of each round, for all rows together.

    `base` is the graph without an adapter; a merged one has the same nodes. `live` is the
    converter's graph, fed one adapter for all rows (`one`) or an adapter for each (`rows`). `lora`
    is ONNX Runtime's own: `one` adapter in a Run for all rows, or a Run for each row (`rows`);
    `batched` feeds a graph each row's factors, which ONNX Runtime's adapters cannot.

    Args:
        width: Of the two layers, (width, width).
        rows: Of the batch.
        tokens: Of each row.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each form is timed.
        context: Where it runs.
    """
    setup = setup_of(context, rows, tokens, sizes)
    files = setup.files
    files.base.write_bytes(forms_graphs.pair("base", width, 1))
    jobs: dict[str, Job] = {"base 0 one": _run(serve_arms.session_of(files.base, setup), setup)}
    for n in sizes:
        jobs |= _live(width, n, setup)
    jobs |= loras(width, ranks, setup)
    checkpoint = context.folder / "rounds.json"
    timed = in_turn(jobs, rounds, checkpoint, context.step, sample=_SAMPLE)
    for path in (*context.folder.glob("*.onnx"), checkpoint):
        path.unlink()
    forms = [_described(name, found, width, setup) for name, found in timed.seconds.items()]
    return {"provider": setup.providers[0], "forms": forms, **timed.around}


def setup_of(context: Context, rows: int, tokens: int, sizes: Sequence[int]) -> Setup:
    """Returns what the benchmark's arms take.

    Raises:
        SystemExit: A GPU is asked for, and ONNX Runtime has no CUDA: what a CPU takes would stand
            under the GPU's name.
    """
    there = onnxruntime.get_available_providers()
    if context.device == "cuda" and "CUDAExecutionProvider" not in there:
        raise SystemExit("ONNX Runtime has no CUDA here: pip install onnxruntime-gpu")
    return serve_arms.Setup(
        case=serve_cases.Case("pair", rows, tokens),
        model=serve_cases.MODELS["minilm"],  # not asked for anything
        files=serve_cases.Files(context.folder),
        sizes=tuple(sizes),
        device=context.device,
        threads=torch.get_num_threads(),
        binding=context.device == "cuda",
    )


def _run(session: Any, setup: Setup, adapters: int = 1) -> Job:
    """Returns one Run with random values for whatever the session takes."""
    case, width = setup.case, session.get_inputs()[0].shape[-1]
    feeds = forms_graphs.fed(session, adapters, case.rows, case.tokens, width)
    run: Job = serve_arms.Prepared(session, feeds, setup)
    return run


def _live(width: int, n: int, setup: Setup) -> dict[str, Job]:
    options = serve_arms.options_of(setup.threads)
    session = forms_graphs.spectral(setup.files.base, width, n, None, options, setup.providers)
    found = {f"live {n} one": _run(session, setup)}
    if setup.case.rows > 1:
        found[f"live {n} rows"] = _run(session, setup, setup.case.rows)
    return found


def loras(width: int, ranks: Sequence[int], setup: Setup) -> dict[str, Job]:
    """Returns the peer's runs; `serve_lora` says what its graph is."""
    adapter, case, files = forms_graphs.adapter_of(width, 1), setup.case, setup.files
    serve_lora.add_lora(files.base, adapter, files.lora)
    batched = _batched(files.lora)
    session = serve_arms.session_of(files.lora, setup)
    of_rows = serve_arms.session_of(batched, setup)
    x = np.random.default_rng(0).standard_normal((case.rows, case.tokens, width), np.float32)
    found: dict[str, Job] = {}
    for rank in ranks:
        made = [serve_lora.factors(adapter, seed, rank) for seed in range(case.rows)]
        pairs = list(zip(serve_lora.opened(iter(made), files.folder), made, strict=True))
        found[f"lora {rank} one"] = serve_arms.Prepared(session, {"x": x}, setup, pairs[0])
        if case.rows > 1:
            own = [
                serve_arms.Prepared(session, serve_arms.row({"x": x}, number), setup, pair)
                for number, pair in enumerate(pairs)
            ]
            found[f"lora {rank} rows"] = _each(own)
            stacked = {name: np.stack([one[name] for one in made]) for name in made[0]}
            found[f"lora {rank} batched"] = serve_arms.Prepared(of_rows, {"x": x, **stacked}, setup)
    for path in files.folder.glob("*.onnx_adapter"):
        path.unlink()
    return found


def _each(runs: Sequence[Job]) -> Job:
    def call() -> None:
        for run in runs:
            run()

    return call


def _batched(path: Path) -> Path:
    """Write the peer's graph with factors (adapters, in, rank) and (adapters, rank, out)."""
    model = onnx.load(path)
    graph = model.graph
    factors = [entry for entry in graph.input if ".lora_" in entry.name]
    for entry in factors:
        shape = entry.type.tensor_type.shape
        sizes = list(shape.dim)
        del shape.dim[:]
        shape.dim.add(dim_param="adapters")
        shape.dim.extend(sizes)
    names = {entry.name for entry in factors}
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    output = path.with_name("batched.onnx")
    onnx.save(model, output)
    return output


def _described(name: str, seconds: list[float], width: int, setup: Setup) -> Json:
    kind, size, adapters = name.split()
    counted = work_of(kind, int(size), adapters, width, setup.case)
    form = {"kind": kind, "size": int(size), "adapters": adapters}
    return form | {"seconds": seconds, "work": {unit: round(of) for unit, of in counted.items()}}


def work_of(
    kind: str, size: int, adapters: str, width: int, case: serve_cases.Case
) -> dict[str, float]:
    """Returns what there is to do for a batch, counted: the base's part, and an adapter's.

    Units of base and live graphs are those of `fourier_runtimes.costs`. A LoRA has calls for each
    target and Run, numbers of its products that are moved, multiply-adds, factors that are read.
    """
    tokens, targets = case.rows * case.tokens, len(forms_graphs.TARGETS)
    own = case.rows if adapters != "one" else 1  # adapters that are fed
    runs = case.rows if (kind, adapters) == ("lora", "rows") else 1
    base = costs.linear(targets * width**2, tokens)
    found = {"run": float(runs)} | {
        f"base {unit}": count * (1 if unit == "product" else runs) for unit, count in base.items()
    }
    if kind == "live":
        by_token = is_by_token(own, tokens / own)
        live = costs.spectral(
            costs.Group((width, width), size, targets), own, tokens, by_token=by_token
        )
        order = "by_token" if by_token else "by_row"
        found |= {f"{order} {unit}": count for unit, count in live.items()}
    if kind == "lora":
        found |= {
            "lora call": targets * runs,
            "lora moved": _LORA_MOVED * targets * tokens * width,
            "lora product": 2 * targets * tokens * width * size,
            "lora factor": 2 * targets * width * size * own,
        }
    return found
