"""The same un-augmented evaluation on validation patches and on a fixed subset of the training patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from semiseg.contracts import argmax_channel, mean_probability
from semiseg.data.batches import normalize
from semiseg.data.build import DataBundle
from semiseg.data.dataset import EvalBatch, of_one_size
from semiseg.data.loader import eval_loader, fixed_train_subset
from semiseg.engine.device import Hardware
from semiseg.engine.metrics import Metrics, confusion_matrices


@dataclass(frozen=True)
class Evaluation:
    """Metrics of both sides, and the validation's confusion matrix of each image for paired statistics."""

    val: Metrics
    train: Metrics
    val_matrices: np.ndarray  # [N, C, C] int64 in the order of the validation pool
    val_sources: np.ndarray  # [N] the base image that each patch was cut from
    unread: tuple[str, ...] = ()  # files that could not be read and were left out (data.on_error=skip)

    @property
    def gap(self) -> float:
        """Training minus validation mIoU."""
        return self.train.miou - self.val.miou


class Evaluator:
    """Runs a network over the validation pool and a training subset of at most its size."""

    def __init__(self, bundle: DataBundle, batch_size: int, hardware: Hardware) -> None:
        self.bundle, self.device, self.dtype = bundle, hardware.device, hardware.dtype
        pools = bundle.pools
        self.val_sources = np.array([bundle.index.sources[i] for i in bundle.index.source_id[pools.val]])
        train = fixed_train_subset(bundle, size=len(pools.val), seed=0)
        self.loaders = {
            name: eval_loader(
                bundle, patches, batch_size, hardware.num_workers, pin_memory=hardware.device.type == "cuda"
            )
            for name, patches in (("val", pools.val), ("train", train))
        }

    def __call__(self, network: nn.Module) -> Evaluation:
        """Evaluate in eval mode without gradient; the network's mode is restored."""
        unread: list[int] = []
        with _evaluating(network):
            val, train = (self._matrices(network, self.loaders[name], unread) for name in ("val", "train"))
        excluded = tuple(self.bundle.config.exclude_from_miou)
        files = tuple(str(self.bundle.index.image_path(patch)) for patch in unread)
        return Evaluation(Metrics(val.sum(0), excluded), Metrics(train.sum(0), excluded), val, self.val_sources, files)

    @torch.inference_mode()
    def _matrices(self, network: nn.Module, loader: Iterable[EvalBatch], unread: list[int]) -> np.ndarray:
        matrices = []
        for batch in loader:
            unread.extend(batch.failed.tolist())
            parts = list(of_one_size(batch))
            found = torch.cat([self._confusion(network, part) for part, _ in parts])
            matrices.append(found[torch.cat([rows for _, rows in parts]).argsort().to(self.device)])
        return torch.cat(matrices).cpu().numpy()

    def _confusion(self, network: nn.Module, batch: EvalBatch) -> Tensor:
        """Confusion matrices [B, C, C] of patches of one size."""
        image = normalize(batch.image.to(self.device, non_blocking=True))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = network(image)
        prediction = argmax_channel(mean_probability(logits))
        target = batch.mask.to(self.device, non_blocking=True).long()
        return confusion_matrices(prediction, target, self.bundle.classes.num_classes)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode, and without cuDNN's trials of algorithms, which every other size of patch would start anew."""
    training, trials = network.training, torch.backends.cudnn.benchmark
    network.eval()
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        network.train(training)
        torch.backends.cudnn.benchmark = trials
