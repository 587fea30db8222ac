"""Many adapters on one base: merged, live, ONNX Runtime's LoRA, a session for each.

    python benchmarks/serve.py --work FOLDER [--runs 9] [--cases minilm_32x64] [--device cuda]

FOLDER keeps the exported bases for the next go; it takes 4 GB. Times: a process for each case, all
arms in turn. Memory: a process for each arm. README.md says how to read the figures; a table goes
to stderr.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Final

from keras_step import one_of
from measure import Json, child, finish, progress, script
from serve_cases import (
    CASES,
    LABELS,
    Case,
    Model,
    arms_of,
    case_of,
    files_of,
    model_of,
    sizes_of,
)
from serve_report import figures, of_openings, table

ACTIVATED: Final = ("minilm", "bert_base")
PACKAGES: Final = ("numpy", "scipy", "onnx", "torch", "transformers", "onnxruntime-genai")
RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_child(arguments)))
        return
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results: Json = {
        "device": arguments.device,
        "threads": arguments.threads,
        "sizes": sizes_of(smoke=arguments.smoke),
        "labels": LABELS,
        "cases": {},
        "openings": {},
    }
    for model in dict.fromkeys(CASES[name].model for name in arguments.cases):
        _prepare(work, model, arguments)
    for name in arguments.cases:
        results["cases"][name] = _case(name, arguments)
        progress(table({name: results["cases"][name]}))
    for model in ACTIVATED if arguments.openings else ():
        case = next((name for name in arguments.cases if CASES[name].model == model), None)
        if case is not None:
            calls = _run("openings", case, arguments)["calls"]
            results["openings"][model] = of_openings(calls)
    runtimes = [name for name in RUNTIMES if _installed(name)]
    finish("serve", results, [*PACKAGES, *runtimes], {"device_name": _device(arguments)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="keeps what is made once")
    parser.add_argument("--runs", type=int, default=9, help="samples of each arm")
    cases, arms = tuple(CASES), tuple(LABELS)
    parser.add_argument("--cases", type=one_of(cases), default=cases, help=", ".join(cases))
    parser.add_argument("--arms", type=one_of(arms), default=arms, help=", ".join(arms))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--binding", action="store_true", help="IOBinding on a CPU, too")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of a session")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--no-openings", dest="openings", action="store_false")
    parser.add_argument("--smoke", action="store_true", help="tiny models, to try the script")
    what = ("times", "memory", "openings")
    parser.add_argument("--child", choices=what, help=argparse.SUPPRESS)
    return parser.parse_args()


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _device(arguments: argparse.Namespace) -> str | None:
    """The name of the GPU, as the driver gives it."""
    if arguments.device == "cpu":
        return None
    command = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return child(command).stdout.splitlines()[0]


def _prepare(work: Path, model: str, arguments: argparse.Namespace) -> None:
    """Make a model's files, untimed: the base once, all other graphs in each go."""
    smoke = ["--smoke"] if arguments.smoke else []
    folder = files_of(work, model, smoke=arguments.smoke).folder
    if not folder.exists():
        progress(f"{model}: exporting, not timed")
        child(script("serve_models.py", folder, model, *smoke))
    progress(f"{model}: converting, not timed")
    live = any(arm.startswith("live") for arm in arguments.arms)
    child(script("serve_graphs.py", folder, model, *smoke, *([] if live else ["--no-live"])))


def _facts(name: str, arguments: argparse.Namespace) -> tuple[Case, Model, list[str]]:
    case = case_of(name, smoke=arguments.smoke)
    model = model_of(case.model, smoke=arguments.smoke)
    return case, model, arms_of(case, model, arguments.arms)


def _case(name: str, arguments: argparse.Namespace) -> Json:
    case, model, arms = _facts(name, arguments)
    timed = _run("times", name, arguments)
    peaks: Json = {}
    for arm in arms if arguments.memory else ():
        peaks[arm] = _run("memory", name, arguments, arm)
    facts = case._asdict() | {"shape": model._asdict(), "agreement": timed["agreement"]}
    return facts | figures(name, timed["pairs"], peaks, arguments.threads)


def _run(what: str, case: str, arguments: argparse.Namespace, arm: str | None = None) -> Json:
    progress(f"{case}: {what}" + (f" of {arm}" if arm else ""))
    chosen = ("--arms", arm or ",".join(arguments.arms))
    options = ("--child", what, "--cases", case, *chosen)
    return child(script("serve.py", *sys.argv[1:], *options)).json()


def _child(arguments: argparse.Namespace) -> Json:
    """Measure in this process; only here is ONNX Runtime loaded."""
    from serve_arms import Setup
    from serve_openings import openings
    from serve_timing import memory, times

    (name,) = arguments.cases
    case, model, arms = _facts(name, arguments)
    setup = Setup(
        case=case,
        model=model,
        files=files_of(arguments.work.resolve(), case.model, smoke=arguments.smoke),
        sizes=sizes_of(smoke=arguments.smoke),
        device=arguments.device,
        threads=arguments.threads,
        binding=arguments.binding or arguments.device == "cuda",
    )
    if arguments.child == "memory":
        return memory(arguments.arms[0], setup)
    if arguments.child == "openings":
        return openings(setup, arguments.runs)
    return times(arms, setup, arguments.runs)


if __name__ == "__main__":
    main()
