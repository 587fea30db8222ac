"""What the command refuses before it reads anything: combinations that mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fourier_converters.base_kinds import is_keras_base, is_onnx_base
from fourier_converters.request import Request
from fourier_format.errors import UsageError, Violation

_ONLY_FOR: Final = {
    "quantized": ("onnx",),
    "external_data": ("onnx",),
    "dry_run": ("onnx", "keras"),
    "explain": ("onnx",),
    "live": ("onnx",),
    "static": ("onnx",),
    "adapters": ("onnx",),
    "rank": ("lora",),
    "min_energy": ("lora",),
}
_MERGED: Final = ("onnx", "safetensors", "keras")


def check_usage(request: Request) -> None:
    """Refuse combinations that mean nothing.

    Raises:
        UsageError: E-USAGE.
    """
    if not request.files:
        raise usage_error("source", "no adapter is given", "give a .fft or a PEFT directory")
    for source in request.files:
        _check_source(source)
    base, to = request.base, request.to
    if to == "onnx" and not (base is not None and is_onnx_base(base)):
        problem = "--to onnx needs the ONNX base" + (f", got {base}" if base else "")
        advice = "add --base model.onnx, or a directory with genai_config.json"
        raise usage_error("--base", problem, advice)
    if to == "onnx-adapter" and not (base is not None and is_onnx_base(base)):
        problem = "--to onnx-adapter needs the live graph" + (f", got {base}" if base else "")
        advice = "add --base live.onnx, or its directory with genai_config.json"
        raise usage_error("--base", problem, advice)
    if to == "onnx" and base is not None and base.is_dir() and request.external_data == "reference":
        problem = "a directory of onnxruntime-genai is always copied whole"
        raise usage_error("--external-data", problem, "give its .onnx file as --base")
    if to == "safetensors" and (base is None or is_onnx_base(base)):
        problem = "--to safetensors needs the checkpoint" + (f", got {base}" if base else "")
        raise usage_error("--base", problem, "add --base CHECKPOINT_DIR")
    if to == "keras" and not (base is not None and is_keras_base(base)):
        problem = "--to keras needs the Keras base" + (f", got {base}" if base else "")
        raise usage_error("--base", problem, "add --base model.keras or model.weights.h5")
    if base is not None and not base.exists():
        raise usage_error("--base", f"no such file or directory: {base}", "check the path")
    if any(source.is_dir() for source in request.sources):
        _check_checkpoint_usage(request)
    else:
        _check_file_usage(request)
    _check_options(request)


def usage_error(where: str, problem: str, advice: str) -> UsageError:
    """Returns the error for a command that makes no sense."""
    return UsageError(Violation("E-USAGE", where, problem, advice=advice))


def _check_source(source: Path) -> None:
    if not source.exists():
        advice = "give a .fft or a PEFT directory"
        raise usage_error(str(source), "no such file or directory", advice)
    if source.suffix in {".safetensors", ".onnx", ".bin", ".json"} and not source.is_dir():
        problem = "this is neither a .fft nor a PEFT directory"
        raise usage_error(str(source), problem, "for a PEFT checkpoint give its directory")


def _check_checkpoint_usage(request: Request) -> None:
    if request.base is None:
        advice = "add --base model.safetensors, its directory or model.onnx"
        problem = "a PEFT checkpoint holds neither shapes nor entries, which come from the base"
        raise usage_error("--base", problem, advice)
    if request.to == "keras":
        problem = "a PEFT checkpoint knows neither Keras's names nor the weights themselves"
        advice = "make a .fft from it and its own base first: that has fingerprints"
        raise usage_error("--to", problem, advice)
    if request.to == "onnx-adapter":
        problem = "a PEFT checkpoint does not know its base, which the live graph must hold"
        advice = "make a .fft from it and its own base first: that has fingerprints"
        raise usage_error("--to", problem, advice)
    if request.verify is not None:
        problem = "a PEFT checkpoint says nothing of its base that could be verified"
        raise usage_error("--verify", problem, "make a .fft from it and its own base first")


def _check_file_usage(request: Request) -> None:
    if request.adapter is not None:
        raise usage_error("--adapter", "only a PEFT directory has named adapters", "leave it out")
    if request.to not in _MERGED:
        without = " without --base" if request.to == "html" else ""
        for option in _useless(request):
            if getattr(request, option) is not None:
                problem = f"--to {request.to} of a .fft has no use for it{without}"
                raise usage_error(f"--{option}", problem, "leave it out")


def _useless(request: Request) -> tuple[str, ...]:
    """Returns the options that mean nothing for a file that is not merged into a base."""
    if request.to == "html" and request.base is not None:
        return ()
    about_base = ("map", "verify")
    return about_base if request.to in {"onnx-adapter", "html"} else ("base", *about_base)


def _check_options(request: Request) -> None:
    for option, uses in _ONLY_FOR.items():
        given = getattr(request, option)
        unset = given is None or given is False or given == ()
        if not unset and request.to not in uses:
            name, problem = option.replace("_", "-"), f"it is for --to {' and '.join(uses)} only"
            raise usage_error(f"--{name}", problem, "leave it out")
    _check_live(request)
    if request.to == "lora" and request.rank is None:
        problem = "a LoRA approximates, and nothing says how closely"
        raise usage_error("--rank", problem, "add --rank R, such as --rank 64")
    scales, count = request.scales, len(request.sources)
    if scales is not None and len(scales) != count:
        problem = f"{len(scales)} scales for {count} sources"
        raise usage_error("--scales", problem, "give one number for each source")


def _check_live(request: Request) -> None:
    """A live graph holds no adapter, so that nothing of one can be scaled, rounded or explained."""
    if not request.live:
        for option in ("adapters", "static"):
            if getattr(request, option):
                raise usage_error(f"--{option}", "it belongs to --live", "add --live")
        return
    for option in ("scales", "quantized", "explain"):
        if getattr(request, option) is not None:
            problem = "a live graph holds no adapter, and this is about one"
            raise usage_error(f"--{option}", problem, "leave it out")
