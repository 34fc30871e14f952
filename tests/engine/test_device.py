"""What `auto` chooses on machines that this one may not be."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from semiseg.engine.device import Hardware, pick_device, pick_dtype
from semiseg.engine.settings import TrainerConfig
from semiseg.errors import ConfigError


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_without_bf16_of_its_own_takes_fp16(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert pick_dtype("auto", pick_device("auto")) == expected


@pytest.mark.usefixtures("one_gpu")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match=r"device=cuda:7: PyTorch finds 1 GPUs here, counted from cuda:0"):
        pick_device("cuda:7")


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(("system", "expected"), [("nt", [(0.95 * 13 / 16, 0)]), ("posix", [])])
def test_memory_ends_where_the_gpus_does(monkeypatch: pytest.MonkeyPatch, system: str, expected: list) -> None:
    limits = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (12 * 2**30, 16 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    monkeypatch.setattr("semiseg.engine.device.os", SimpleNamespace(name=system))
    for name in ("cuda:0", "cpu"):
        pick_device(name)
    assert limits == expected


@pytest.mark.parametrize(
    ("build", "system", "hint"), [("13.2", "win32", False), (None, "win32", True), (None, "darwin", False)]
)
def test_a_pytorch_that_cannot_use_the_gpu_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, build: str | None, system: str, hint: bool
) -> None:
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr("semiseg.engine.device.sys", SimpleNamespace(platform=system))
    said = Hardware.of(TrainerConfig(max_steps=1, device="cpu")).described()
    assert said.startswith("Device: CPU, fp32.") and ("pytorch.org/get-started" in said) is hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as refused:
        pick_device("cuda")
    assert ("pytorch.org/get-started" in str(refused.value)) is hint


def test_fp16_needs_a_gpu() -> None:
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    with pytest.raises(ConfigError, match="fp16 needs CUDA"):
        pick_dtype("fp16", torch.device("cpu"))
