"""The same un-augmented evaluation on validation patches and on a fixed subset of the training patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from semiseg.contracts import argmax_channel, mean_probability
from semiseg.data.batches import normalize
from semiseg.data.build import DataBundle
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
        training = network.training
        network.eval()
        unread: list[int] = []
        try:
            val, train = (self._matrices(network, self.loaders[name], unread) for name in ("val", "train"))
        finally:
            network.train(training)
        excluded = tuple(self.bundle.config.exclude_from_miou)
        files = tuple(str(self.bundle.index.image_path(patch)) for patch in unread)
        return Evaluation(Metrics(val.sum(0), excluded), Metrics(train.sum(0), excluded), val, self.val_sources, files)

    @torch.inference_mode()
    def _matrices(self, network: nn.Module, loader: DataLoader, unread: list[int]) -> np.ndarray:
        matrices = []
        for image, mask, failed in loader:
            unread.extend(failed.tolist())
            image = normalize(image.to(self.device, non_blocking=True))
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = network(image)
            prediction = argmax_channel(mean_probability(logits))
            target = mask.to(self.device, non_blocking=True).long()
            matrices.append(confusion_matrices(prediction, target, self.bundle.classes.num_classes))
        return torch.cat(matrices).cpu().numpy()
