"""The real engine and method around a network of two layers, with scripted data and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semiseg.contracts import Batch
from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.engine import Engine
from semiseg.engine.optim import build_optimizer
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.losses import SegmentationLoss
from semiseg.methods import Ema, SemiSupervised
from semiseg.models.base import SegmentationModel
from semiseg.pseudo_label import NoPseudoLabels

CLASSES = ("soil", "road", "palm")
SIDE = 16


class TinyNet(SegmentationModel):
    """Two convolutions without BatchNorm or dropout: half batches add up to whole ones."""

    def __init__(self) -> None:
        super().__init__(len(CLASSES), nn.Conv2d(3, 4, 3, padding=1), "tiny", encoder_weights=None)
        self.head = nn.Conv2d(4, len(CLASSES), 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.encoder(image).relu())


class Stream:
    """Batches that depend on the position alone, like those of the real stream."""

    skipped = 0

    def __init__(self, start: dict[str, int], batch_size: int, device: torch.device) -> None:
        self.position = {"labeled": start.get("labeled", 0)}
        self.batch_size, self.device = batch_size, device
        self.closed = False

    def __next__(self) -> Batch:
        samples = [self.sample(self.position["labeled"] + i) for i in range(self.batch_size)]
        image, mask = (torch.stack(parts) for parts in zip(*samples, strict=True))
        self.position["labeled"] += self.batch_size
        return Batch(image, mask, image.flip(-1), mask.flip(-1), image.flip(-2), mask.flip(-2)).map(self.send)

    def send(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def sample(self, number: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(number)
        return torch.randn(3, SIDE, SIDE, generator=rng), torch.randint(len(CLASSES), (SIDE, SIDE), generator=rng)

    def coming_files(self) -> dict[str, list[str]]:
        first = self.position["labeled"]
        return {"labeled": [f"{number}.png" for number in range(first, first + self.batch_size)]}

    def close(self) -> None:
        self.closed = True


class Notes:
    """A recorder that keeps what it was handed."""

    def __init__(self) -> None:
        self.logs: dict[int, dict[str, float]] = {}
        self.images: dict[int, int] = {}
        self.evaluations: list[int] = []
        self.bad: tuple[int, list[str]] | None = None
        self.skipped: dict[int, tuple[int, list[str]]] = {}
        self.splits: list[tuple[int, int, int]] = []  # step, batch size, accumulate

    def start(self, step: int, total_steps: int) -> None: ...

    def flush(self) -> None: ...

    def not_finite(self, step: int, losses: list[str]) -> None:
        self.bad = (step, losses)

    def skipped_steps(self, step: int, total: int, losses: list[str]) -> None:
        self.skipped[step] = (total, losses)

    def skipped_patches(self, count: int) -> None: ...

    def batch_split(self, step: int, trainer: TrainerConfig) -> None:
        self.splits.append((step, trainer.batch_size, trainer.accumulate))

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def log(self, step: int, averages: dict[str, float], counts: dict[str, Tensor], images: int, skipped: int) -> None:
        self.logs[step], self.images[step] = averages, images

    def evaluation(self, step: int, *args: Any) -> None:
        self.evaluations.append(step)

    def keep_matrices(self, result: Any) -> None:
        self.matrices_of = result.val.miou

    def forget_best(self) -> None: ...

    def forget_run(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TinyEngine(Engine):
    """The engine with its stream and notes at hand."""

    recorder: Any
    stream: Stream


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., TinyEngine]:
    """An engine on the CPU with SGD at rate 0.1. `scores` are the validation mIoUs in order; the last one repeats."""

    def make(
        labeler: Any = None,
        optim: OptimConfig | None = None,
        scores: tuple[float, ...] = (0.5,),
        ema_decay: float | None = None,
        steps_per_epoch: int = 4,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        network: Callable[[], SegmentationModel] = TinyNet,
        **trainer: Any,
    ) -> TinyEngine:
        torch.manual_seed(1)
        trainer = {"max_steps": 4, "batch_size": 2} | trainer
        settings = TrainerConfig(**trainer)
        optim = optim or OptimConfig(lr=0.1, momentum=0.0)
        labeler = labeler or NoPseudoLabels()
        labeler.prepare(len(CLASSES), CLASSES, 10)
        student = network()
        ema = None if ema_decay is None else Ema(student, ema_decay)
        method = SemiSupervised(student, SegmentationLoss(ce_weight=1.0), labeler, len(CLASSES), ema).to(device)
        optimizers = {"student": build_optimizer(student.parameter_roles(), optim)}
        if method.discriminator is not None:
            optimizers["discriminator"] = build_optimizer({"encoder": list(method.discriminator.parameters())}, optim)
        remaining = list(scores)

        def evaluate(network: nn.Module) -> Any:
            score = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            return SimpleNamespace(val=SimpleNamespace(miou=score))

        def open_stream(start: dict[str, int]) -> Stream:
            engine.stream = Stream(start, settings.batch_size, torch.device(device))
            return engine.stream

        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        networks = {"": student} | ({} if ema is None else {"_ema": ema.network})
        arguments: dict[str, Any] = {"open_stream": open_stream, "evaluate": evaluate, "recorder": Notes()}
        engine = TinyEngine(
            method=method,
            optimizers=optimizers,
            optim=dict.fromkeys(optimizers, optim),
            trainer=settings,
            device=torch.device(device),
            dtype=dtype,
            labeled=steps_per_epoch * settings.batch_size * settings.accumulate,
            checkpoints=CheckpointFolder(folder, networks),
            config={"seed": 0},
            **arguments,
        )
        return engine

    return make
