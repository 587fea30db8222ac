"""One training step in Keras: a frozen base, Keras's LoRA and ours, for each backend.

    python benchmarks/keras_step.py [--keras tensorflow,jax,torch] [--modes eager,jit] [--runs 7]

One child process for a backend and a mode, since Keras reads its backend once a process; all arms
of a case in turn. `train_step.py --keras` has the same.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Final

from measure import Json, child, finish, progress, script, spread
from train_report import Peaks, figures, table

ARMS: Final = ("base", "lora", "ours")
BACKENDS: Final = ("tensorflow", "jax", "torch")
CASES: Final = ("minilm", "bert_base", "dense_2048", "dense_4096")
MODES: Final = ("eager", "jit")
PACKAGES: Final = ("numpy", "keras", "keras-hub", "tensorflow-cpu", "jax", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras", type=one_of(BACKENDS), default=BACKENDS, help="its backends")
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each arm")
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--smoke", action="store_true", help="tiny models, to try the script")
    add_options(parser)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments)
        return
    results = {"n": arguments.n, "keras": keras_cases(arguments, arguments.keras)}
    finish("keras_step", results, PACKAGES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only Keras's rows have."""
    help_ = ", ".join(CASES)
    parser.add_argument("--keras-cases", type=one_of(CASES), default=CASES, help=help_)
    parser.add_argument("--modes", type=one_of(MODES), default=MODES, help=", ".join(MODES))


def one_of(known: tuple[str, ...]) -> Any:
    """The type of an option that is a list of names."""

    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"{text}: must be of {', '.join(known)}")
        return chosen

    return names


def keras_cases(arguments: argparse.Namespace, backends: tuple[str, ...]) -> Json:
    """Measure all cases: "backend mode case" -> its figures."""
    labels = {"base": "base only", "lora": "LoRA r=8, Keras", "ours": f"ours n={arguments.n}"}
    measured: Json = {}
    for backend in backends:
        for mode in arguments.modes:
            for case, done in _run(backend, mode, arguments).items():
                measured[f"{backend} {mode} {case}"] = _figures(done)
    progress(table(measured, labels))
    return measured


def _run(backend: str, mode: str, arguments: argparse.Namespace) -> Json:
    progress(f"{backend}, {mode}")
    options = ["--runs", str(arguments.runs), "--n", str(arguments.n)]
    options += ["--keras-cases", ",".join(arguments.keras_cases)]
    options += ["--smoke"] if arguments.smoke else []
    command = script("keras_step.py", "--child", "--keras", backend, "--modes", mode, *options)
    return child(command).json()


def _figures(done: Json) -> Json:
    """The figures of a case; on a busy machine the ratio of processor times is the steadier."""
    peaks: Peaks = {arm: [facts.pop("peaks")] for arm, facts in done["arms"].items()}
    measured: Json = done["case"] | figures(done, peaks)
    ours, lora = (done["arms"][arm]["calls"] for arm in ("ours", "lora"))
    pairs = (own[1] / peer[1] for own, peer in zip(ours, lora, strict=True))
    measured["ratios"]["ours_over_lora_cpu"] = spread(pairs)
    return measured


def _child(arguments: argparse.Namespace) -> None:
    """Measure in this process; only here is Keras loaded, by the backend that is asked for."""
    (backend,), (mode,) = arguments.keras, arguments.modes
    os.environ["KERAS_BACKEND"] = backend
    from keras_arms import Setup, case_of, measured

    setups = {
        name: Setup(case_of(name, smoke=arguments.smoke), mode, arguments.n)
        for name in arguments.keras_cases
    }
    done = {name: measured(ARMS, setup, arguments.runs) for name, setup in setups.items()}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
