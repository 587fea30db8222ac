"""What the operations cost of which a training step's adapter consists, on this machine.

    python benchmarks/calibrate_paths.py [--device cuda] [--dtype bfloat16]

No model: nanoseconds for a unit of work, from which a cost model can choose a path.
"""
# ruff: noqa: TID251 -- what is measured

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own habit
from measure import Json, finish, rounded
from torch import Tensor

WIDTHS: Final = (384, 768, 1024, 2048, 4096)
TOKENS: Final = (256, 2048)
PACKAGES: Final = ("torch",)
_LEAST_CALLS: Final = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--seconds", type=float, default=0.08, help="for each figure")
    parser.add_argument("--threads", type=int, help="torch's; default: its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    bench = Bench(arguments.device, dtype, arguments.seconds)
    results: Json = {
        "unit": "ns",
        "dtype": arguments.dtype,
        "torch_threads": torch.get_num_threads(),
        "n": arguments.n,
        "call": rounded(bench.ns(torch.zeros(1, device=arguments.device).neg)),
        "gemm_flop": {},
        "sizes": {},
    }
    for width in arguments.widths:
        for tokens in arguments.tokens:
            size = f"{tokens}x{width}"
            results["gemm_flop"][size] = bench.gemm(tokens, width)
            results["sizes"][size] = bench.passes(tokens, width, arguments.n)
    results["delta_weight_element"] = {str(w): bench.delta_weight(w) for w in arguments.widths}
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    finish("calibrate_paths", results, PACKAGES, {"device": device})


class Bench:
    """Times operations on one device; the FFT, which knows no half precision, is in float32."""

    def __init__(self, device: str, dtype: torch.dtype, seconds: float) -> None:
        self.device = device
        self.dtype = dtype
        self.seconds = seconds
        self.wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else _nothing

    def ns(self, job: Callable[[], object]) -> float:
        """The least time of one call: what disturbs a call only ever adds to it."""
        job()
        self.wait()
        end = time.perf_counter() + self.seconds
        best, calls = float("inf"), 0
        while calls < _LEAST_CALLS or time.perf_counter() < end:
            start = time.perf_counter()
            job()
            self.wait()
            best = min(best, time.perf_counter() - start)
            calls += 1
        return best * 1e9

    def random(self, *size: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(*size, device=self.device).to(dtype or self.dtype)

    def gemm(self, tokens: int, width: int) -> Json:
        """The three products of a linear layer: forward, to the input, and to the weight."""
        states, weight = self.random(tokens, width), self.random(width, width)
        jobs: dict[str, Callable[[], object]] = {
            "forward": lambda: F.linear(states, weight),
            "to_input": lambda: states @ weight,
            "to_weight": lambda: states.T @ states,
        }
        flop = 2 * tokens * width * width
        return {name: rounded(self.ns(job) / flop) for name, job in jobs.items()}

    def passes(self, tokens: int, width: int, n: int) -> Json:
        """Transforms by the element of the states; gathering and copying by the byte.

        The bytes of `embedding_bag` are those of the rows that it reads, and of what it writes
        too; for a copy, those that are read and those that are written.
        """
        states = self.random(tokens, width, dtype=torch.float32)
        half = torch.fft.rfft(states)
        across = states.T.contiguous()
        elements = tokens * width
        moved = 2 * elements * 4
        result = {
            "rfft_element": self.ns(lambda: torch.fft.rfft(states)) / elements,
            "irfft_element": self.ns(lambda: torch.fft.irfft(half, n=width)) / elements,
            "rfft_across_element": self.ns(lambda: torch.fft.rfft(across, dim=0)) / elements,
            "copy_byte": self.ns(states.clone) / moved,
            "transposed_copy_byte": self.ns(states.T.contiguous) / moved,
            "multiply_byte": self.ns(lambda: states * 2.0) / moved,
        }
        result |= self._gathering(across.to(self.dtype), n)
        return {name: rounded(value) for name, value in result.items()}

    def _gathering(self, table: Tensor, n: int) -> dict[str, float]:
        """`n` rows of [features, tokens], weighed and added up to as many rows as there are."""
        features, tokens = table.shape
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(features, (n,), generator=generator).to(self.device)
        bags = torch.randint(features, (n,), generator=generator).sort().values
        offsets = torch.searchsorted(bags, torch.arange(features)).to(self.device)
        scale = self.random(n).requires_grad_()
        source = table.requires_grad_()

        def forward() -> Tensor:
            return F.embedding_bag(
                rows, source, offsets, mode="sum", per_sample_weights=scale, sparse=False
            )

        def both() -> None:
            torch.autograd.grad(forward(), (source, scale), upward)

        with torch.no_grad():
            upward = torch.ones_like(forward())
            moved = (n + features) * tokens * table.element_size()
            gathered = 2 * n * tokens * table.element_size()
            result = {
                "embedding_bag_byte": self.ns(forward) / moved,
                "index_select_byte": self.ns(lambda: table.index_select(0, rows)) / gathered,
            }
        return result | {"embedding_bag_and_backward_byte": self.ns(both) / moved}

    def delta_weight(self, width: int) -> Json:
        """What goes over a whole weight, by its element: real transforms and an addition."""
        weight = self.random(width, width, dtype=torch.float32)
        half = torch.fft.rfft2(weight)
        size = (width, width)
        jobs: dict[str, Callable[[], object]] = {
            "rfft2": lambda: torch.fft.rfft2(weight),
            # This norm, since the default one is wrong at 2048 on some CPU builds.
            "irfft2": lambda: torch.fft.irfft2(half, s=size, norm="forward"),
            "add": lambda: weight + weight,
        }
        return {name: rounded(self.ns(job) / weight.numel()) for name, job in jobs.items()}


def _nothing() -> None:
    """A CPU has done what it was told when the call returns."""


if __name__ == "__main__":
    main()
