"""Systems over the patches of a subject, one pass for all of them and for their ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semiseg.data.dataset import EvalBatch, of_one_size
from semiseg.data.loader import MAX_EVAL_WORKERS, eval_loader
from semiseg.errors import DataError
from semiseg.evaluation.boundary import band_width
from semiseg.evaluation.predictors import Predictor
from semiseg.evaluation.scores import Scores, Tally
from semiseg.evaluation.subject import Subject

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Evaluation:
    """Scores of each system, and of their ensemble where there are several."""

    subject: Subject
    members: list[Scores]
    ensemble: Scores | None
    unread: list[str]  # files that were left out (data.on_error=skip)

    @property
    def headline(self) -> Scores:
        """What was asked for: the ensemble, or the one system."""
        return self.ensemble or self.members[0]

    def gains(self) -> dict[str, dict[str, float]]:
        """The ensemble minus its best member and minus their mean, figure -> over_best, over_mean.

        Of the calibration error, which is better the lower it is, the best member has the lowest, and a difference
        above zero is a loss. Empty without an ensemble.
        """
        if self.ensemble is None:
            return {}
        found = {}
        for name in self.ensemble.values():
            if name == "overconfidence":  # of which neither more nor less is better
                continue
            own, others = self.ensemble.values()[name], [each.values()[name] for each in self.members]
            best = min(others) if name == "ece" else max(others)
            found[name] = {"over_best": own - best, "over_mean": own - float(np.mean(others))}
        return found


@torch.inference_mode()
def measure(
    systems: Mapping[str, Predictor],
    subject: Subject,
    batch_size: int,
    device: torch.device,
    num_workers: int | None = None,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Every system on every patch, in the batches of a training's evaluations.

    `num_workers` processes read ahead; None takes some beside a GPU alone, since on the cores that the network computes
    on they gain nothing. Raises DataError for a patch that cannot be read, and where every pixel is ignored.
    """
    sources, source_of = subject.sources
    num_classes = subject.bundle.classes.num_classes
    names = [*systems, *([ENSEMBLE] if len(systems) > 1 else [])]
    tallies = [Tally(len(sources), num_classes, device) for _ in names]
    failed: list[int] = []
    seen = 0
    workers = num_workers if num_workers is not None else MAX_EVAL_WORKERS * (device.type != "cpu")
    for batch in eval_loader(subject.bundle, subject.patches, batch_size, workers, pin_memory=device.type == "cuda"):
        of_batch = torch.from_numpy(source_of[seen : seen + len(batch.image)])
        for part, rows in of_one_size(batch):
            _add(list(systems.values()), tallies, part, of_batch[rows], device)
        failed += batch.failed.tolist()
        seen += len(batch.image)
        advance(len(batch.image))
    *scores, last = [tally.result(name, subject.excluded) for tally, name in zip(tallies, names, strict=True)]
    if not last.metrics.matrix.any():
        raise DataError(f"Every pixel of the {seen:,} patches is ignored (255): there is no truth to hold against.")
    members, ensemble = (scores, last) if len(systems) > 1 else ([last], None)
    return Evaluation(subject, members, ensemble, [str(subject.bundle.index.image_path(patch)) for patch in failed])


def _add(
    systems: list[Predictor], tallies: list[Tally], batch: EvalBatch, sources: Tensor, device: torch.device
) -> None:
    """One batch: each system's probabilities, and their mean where there are several."""
    images = batch.image.to(device, non_blocking=True)
    target = batch.mask.to(device, non_blocking=True).long()
    sources, bands = sources.to(device), [band_width(*size) for size in batch.sizes.tolist()]
    total: Tensor | None = None
    for system, tally in zip(systems, tallies, strict=False):  # the ensemble's tally is one more
        probabilities = system.probabilities(images).to(device)
        tally.update(probabilities, target, sources, bands)
        total = probabilities if total is None else total + probabilities
    if total is not None and len(systems) > 1:
        tallies[-1].update(total / len(systems), target, sources, bands)
