"""One training step: a frozen base, PEFT's LoRA, PEFT's FourierFT and ours, query and value.

    python benchmarks/train_step.py [--runs 7] [--cases minilm,llama_4096] [--arms base,lora,ours]
    python benchmarks/train_step.py --keras tensorflow,jax,torch

The second has Keras's rows as well: its own LoRA against ours (`keras_step.py`, which runs alone).

Times: one child process for a case, all arms in turn. Memory: one child process for an arm.
README.md says how to read the figures; a table of them goes to stderr.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import sys
from typing import Final

from keras_step import BACKENDS, add_options, keras_cases, one_of
from measure import Json, child, finish, progress, script
from train_report import Peaks, figures, table

ARMS: Final = ("base", "lora", "peft", "ours")
FORCED_PATHS: Final = ("ours_weight", "ours_activation")
CASES: Final = ("minilm", "bert_base", "llama_2048", "llama_4096")
PACKAGES: Final = ("numpy", "torch", "transformers", "peft")


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_child(arguments)))
        return
    plain = arguments.models == "plain"
    arms, skipped = _present(arguments.arms, plain=plain)
    for arm, reason in skipped.items():
        progress(f"without {arm}: {reason}")
    labels = _labels(arguments, plain=plain)
    results: Json = {
        "models": arguments.models,
        "dtype": arguments.dtype,
        "arms": {arm: labels[arm] for arm in arms},
        "skipped": skipped,
        "cases": {},
    }
    facts: Json = {}
    for name in arguments.cases:
        results["cases"][name], facts = _case(name, arms, arguments)
    progress(table(results["cases"], labels))
    if arguments.keras:
        results["keras"] = keras_cases(arguments, arguments.keras)
    installed = [name for name in PACKAGES if _installed(name)]
    finish("train_step", results, installed, facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each arm")
    parser.add_argument("--memory-runs", type=int, default=1, help="children of each arm, 0: none")
    parser.add_argument("--cases", type=one_of(CASES), default=CASES, help=", ".join(CASES))
    choices = (*ARMS, *FORCED_PATHS)
    parser.add_argument("--arms", type=one_of(choices), default=ARMS, help=", ".join(choices))
    parser.add_argument("--path", choices=("auto", "weight", "activation"), default="auto")
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--tokens", type=int, help="of the Llama shapes; default 256")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    models = "transformers" if _installed("transformers") else "plain"
    parser.add_argument("--models", choices=("transformers", "plain"), default=models)
    ends = "where all arms' gradients end; default: input for slices of models, adapted for models"
    parser.add_argument("--gradient", choices=("input", "adapted"), help=ends)
    parser.add_argument("--threads", type=int, help="torch's; default: its own choice")
    keras = "Keras's backends: their rows as well"
    parser.add_argument("--keras", type=one_of(BACKENDS), default=(), help=keras)
    add_options(parser)
    parser.add_argument("--smoke", action="store_true", help="tiny models, to try the script")
    parser.add_argument("--child", choices=("times", "memory"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _present(arms: tuple[str, ...], *, plain: bool) -> tuple[list[str], dict[str, str]]:
    """The arms that can run here, and why the others cannot."""
    skipped: dict[str, str] = {}
    for arm in arms:
        if arm.startswith("ours") and not importlib.util.find_spec("fourier_trainers"):
            skipped[arm] = "fourier_trainers is not importable"
        elif arm == "peft" and plain:
            skipped[arm] = "PEFT FourierFT is left out with plain models"
        elif arm in {"peft", "lora"} and not plain and not _installed("peft"):
            skipped[arm] = "peft is not installed"
    return [arm for arm in arms if arm not in skipped], skipped


def _labels(arguments: argparse.Namespace, *, plain: bool) -> dict[str, str]:
    return {
        "base": "base only",
        "lora": "LoRA r=8, plain" if plain else "LoRA r=8, PEFT",
        "peft": f"FourierFT n={arguments.n}, PEFT",
        "ours": f"ours n={arguments.n}, path {arguments.path}",
        "ours_weight": f"ours n={arguments.n}, path weight",
        "ours_activation": f"ours n={arguments.n}, path activation",
    }


def _case(name: str, arms: list[str], arguments: argparse.Namespace) -> tuple[Json, Json]:
    """Measure one case; the second value is facts of the environment."""

    def run(what: str, chosen: str) -> Json:
        progress(f"{name}: {what} of {chosen}")
        options = ("--child", what, "--cases", name, "--arms", chosen)
        return child(script("train_step.py", *sys.argv[1:], *options)).json()

    done = run("times", ",".join(arms))
    turns = [(arm, run("memory", arm)) for _ in range(arguments.memory_runs) for arm in arms]
    peaks: Peaks = {arm: [peak for whose, peak in turns if whose == arm] for arm in arms}
    facts = {key: done.pop(key) for key in ("device", "torch_threads", "torch_build")}
    return done["case"] | figures(done, peaks), facts


def _child(arguments: argparse.Namespace) -> Json:
    """Measure in this process; only here are torch and the peers loaded."""
    import torch  # noqa: TID251 -- what is measured
    from train_arms import Setup, memory, times
    from train_cases import case_of, weights_of

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    (name,) = arguments.cases
    plain = arguments.models == "plain"
    case = case_of(name, tokens=arguments.tokens, smoke=arguments.smoke)
    setup = Setup(
        case=case,
        weights=weights_of(name, plain=plain, smoke=arguments.smoke),
        plain=plain,
        n=arguments.n,
        path=arguments.path,
        gradient=arguments.gradient or ("input" if case.is_slice else "adapted"),
        device=arguments.device,
        dtype=getattr(torch, arguments.dtype),
    )
    if arguments.child == "memory":
        return memory(arguments.arms[0], setup)
    described = case._asdict() | {"adapted_layers": case.adapted_layers}
    described |= {"weights": setup.weights, "gradient": setup.gradient}
    return times(arguments.arms, setup, arguments.runs) | {"case": described}


if __name__ == "__main__":
    main()
