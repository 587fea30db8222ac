"""Train FourierFT adapters in PyTorch.

    attach(model, FourierConfig(target_modules=("query", "value")))
    ...                                                  # any loop, Trainer, Accelerate, Lightning
    fourier_format.save(capture(model), "adapter.fft")

The model stays the object that it is: its forward adds the delta weights of the active adapters.
"""

from fourier_trainers.config import BandPass, Explicit, FourierConfig, TorchRandperm, Uniform
from fourier_trainers.torch.activating import active, set_active
from fourier_trainers.torch.attaching import attach, detach
from fourier_trainers.torch.capturing import capture
from fourier_trainers.torch.checkpoints import load_trained_state, trained_state
from fourier_trainers.torch.groups import parameter_groups
from fourier_trainers.torch.loading import load_adapter
from fourier_trainers.torch.merging import merge, unmerge
from fourier_trainers.torch.rows import adapter_rows
from fourier_trainers.torch.summary import Summary, summary
from fourier_trainers.torch.watching import Watch, watch

__all__ = [
    "BandPass",
    "Explicit",
    "FourierConfig",
    "Summary",
    "TorchRandperm",
    "Uniform",
    "Watch",
    "active",
    "adapter_rows",
    "attach",
    "capture",
    "detach",
    "load_adapter",
    "load_trained_state",
    "merge",
    "parameter_groups",
    "set_active",
    "summary",
    "trained_state",
    "unmerge",
    "watch",
]
