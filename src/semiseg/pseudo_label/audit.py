"""How much of an unlabelled batch is trusted, and how much of that is right where the hidden truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from semiseg.contracts import IGNORE_INDEX, PseudoLabel


def audit(pseudo_label: PseudoLabel, hidden_mask: Tensor | None, num_classes: int) -> dict[str, Tensor]:
    """Counts of one batch, int64, to be summed over batches key by key.

    "images" (with any pixel kept), "kept" and "total" pixels are 0-d; by predicted class, [C],
    "class_total", "class_kept", "class_audited" (kept, with a known truth) and "class_correct". Classes are counted
    by comparison, because `bincount` waits for the device. hidden_mask [U, h, w], None or 255 = not known.
    """
    target, keep = pseudo_label.target, pseudo_label.keep
    class_ids = torch.arange(num_classes, device=target.device).view(1, -1, 1, 1)
    predicted = target.unsqueeze(1) == class_ids  # [U, C, h, w]
    truth = torch.full_like(target, IGNORE_INDEX) if hidden_mask is None else hidden_mask
    audited = keep & (truth != IGNORE_INDEX)
    return {
        "images": keep.flatten(1).any(dim=1).sum(),
        "kept": keep.sum(),
        "total": torch.full((), target.numel(), dtype=torch.int64, device=target.device),
        "class_total": _count(predicted),
        "class_kept": _count(predicted & keep.unsqueeze(1)),
        "class_audited": _count(predicted & audited.unsqueeze(1)),
        "class_correct": _count(predicted & (audited & (truth == target)).unsqueeze(1)),
    }


def _count(pixels: Tensor) -> Tensor:
    return pixels.sum(dim=(0, 2, 3))


def audit_metrics(sums: Mapping[str, Tensor], class_names: Sequence[str]) -> dict[str, float]:
    """Metrics of counts that are summed over some steps, whose number is "batches".

    "st/images" and "st/pixels" are kept in a mean step; "st/coverage" is the kept share of all pixels, and
    "st/coverage/<class>" of the pixels predicted as that class; "st/precision" is the share of audited pixels that
    are right, overall and a predicted class. A share of nothing is left out. This reads the device: call it only where
    values are logged.
    """
    batches, images, kept, total = (int(sums[key]) for key in ("batches", "images", "kept", "total"))
    metrics = {"st/images": images / batches, "st/pixels": kept / batches, "st/coverage": kept / total}
    by_class = {key: sums[key].tolist() for key in ("class_total", "class_kept", "class_audited", "class_correct")}
    if audited := sum(by_class["class_audited"]):
        metrics["st/precision"] = sum(by_class["class_correct"]) / audited
    for name, pixels, kept, audited, correct in zip(class_names, *by_class.values(), strict=True):
        if pixels:
            metrics[f"st/coverage/{name}"] = kept / pixels
        if audited:
            metrics[f"st/precision/{name}"] = correct / audited
    return metrics
