"""Device, precision and random states."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from semiseg.engine.settings import TrainerConfig
from semiseg.errors import ConfigError

MOST_WORKERS = 4 if os.name == "nt" else 8  # on Windows each one loads CUDA anew, some gigabytes of committed memory
SHARE_OF_FREE = 0.95  # of the GPU's memory: CUDA itself takes some that PyTorch does not count

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def why_no_cuda() -> str:
    """What is to be done where this PyTorch cannot use an NVIDIA GPU; empty where it can, and on a Mac."""
    if torch.version.cuda is not None or torch.version.hip is not None or sys.platform == "darwin":
        return ""
    return "This PyTorch is built without CUDA; for an NVIDIA GPU install the one of pytorch.org/get-started/locally."


def pick_device(name: str, setting: str = "device") -> torch.device:
    """`auto` takes CUDA, else MPS, else the CPU; what a GPU has free is then all that this process may take of it.

    Raises ConfigError, naming the setting, for a device this machine lacks.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name.split(":")[0]]:
        valid = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(
            f"{setting}={name}: PyTorch finds no such device here. Available: {valid}, auto. {why_no_cuda()}".rstrip()
        )
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{setting}={name}: PyTorch finds {torch.cuda.device_count()} GPUs here, counted from cuda:0."
        )
    keep_to_gpu_memory(device)
    return device


def keep_to_gpu_memory(device: torch.device) -> None:
    """Have memory run out on Windows, too, which is told and can be helped (`trainer.auto_batch`).

    The driver would move what does not fit into the computer's own memory: many times slower, and without a word.
    """
    if device.type == "cuda" and os.name == "nt":
        free, total = torch.cuda.mem_get_info(device)
        ours = free + torch.cuda.memory_reserved(device)
        torch.cuda.set_per_process_memory_fraction(SHARE_OF_FREE * ours / total, device.index)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Autocast type: `auto` is bf16 on GPUs that have it, fp16 on older ones, and fp32 elsewhere.

    Raises ConfigError for fp16 outside CUDA, where gradients cannot be scaled.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        with torch.cuda.device(device):  # emulated, as older ones would, bf16 is slower than fp32
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if name == "fp16" and device.type != "cuda":
        raise ConfigError(f"trainer.precision=fp16 needs CUDA, the device is {device.type}. Use bf16, fp32 or auto.")
    return DTYPES[name]


@dataclass
class Hardware:
    """Where and in which precision the run computes."""

    device: torch.device
    dtype: torch.dtype
    num_workers: int

    @classmethod
    def of(cls, trainer: TrainerConfig) -> Hardware:
        """Raises ConfigError for a device or precision this machine lacks."""
        device = pick_device(trainer.device, "trainer.device")
        workers = trainer.num_workers
        if workers is None:
            # Loading beside a training on the same cores gains nothing; a GPU wants the cores to feed it.
            workers = 0 if device.type == "cpu" else min(MOST_WORKERS, os.cpu_count() or 1)
        return cls(device, pick_dtype(trainer.precision, device), workers)

    def described(self) -> str:
        """For the log."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type.upper()
        precision = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        hint = why_no_cuda() if self.device.type == "cpu" else ""
        return f"Device: {device}, {precision}. {hint}".rstrip()


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python, NumPy and PyTorch on every device; optionally ask PyTorch for deterministic kernels."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Only a warning where a kernel has no deterministic form: stopping a day's training for one would help nobody.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def random_states() -> dict[str, Any]:
    """Random states of Python and PyTorch in types that `torch.load(weights_only=True)` accepts.

    NumPy's global generator is not among them: augmentation draws from generators made of the seed and the position.
    """
    version, internal, gauss = random.getstate()
    states: dict[str, Any] = {"python": [version, list(internal), gauss], "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Counterpart of `random_states`; a checkpoint of another machine may have other GPUs, whose states are left."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"].cpu())
    if len(states.get("cuda", ())) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far in MiB: of the GPU's allocator, else the resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # not on Windows
    except ImportError:
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20  # pyright: ignore[reportAttributeAccessIssue]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
