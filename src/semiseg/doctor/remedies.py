"""Hydra overrides against each bad sign, from the guides; numbers start from the run's own settings where known."""

from __future__ import annotations

from collections.abc import Callable

from semiseg.doctor.case import Case
from semiseg.shell import as_typed

RATE = 2.5e-4  # of V1, V2 and V3
RATE_LIGHTWEIGHT = 1e-4
DICE_FIRST = "loss.dice_weight=0.5 loss.ce_weight=0.3 loss.focal_weight=0.2"


def more_pseudo_labels(case: Case) -> str:
    """Lower thresholds. V3 guide: by 0.10 a class, or 0.50 for all; S4GAN guide: 0.1 instead of 0.2."""
    if case.labeler == "discriminator":
        now = case.number("pseudo_label.threshold") or 0.2
        return setting("pseudo_label.threshold", 0.1 if now > 0.1 else now / 2)
    return _softmax(case, lambda now: max(0.1, now - 0.1), unknown=0.5)


def surer_pseudo_labels(case: Case) -> str:
    """Higher thresholds. S4GAN guide: 0.3 instead of 0.2."""
    if case.labeler == "discriminator":
        now = case.number("pseudo_label.threshold") or 0.2
        return setting("pseudo_label.threshold", 0.3 if now < 0.3 else (1 + now) / 2)
    return _softmax(case, lambda now: (1 + now) / 2 if now >= 0.85 else now + 0.1, unknown=0.8)


def find_classes(case: Case, names: list[str], self_trained: bool) -> str:
    """Against classes that are never predicted. V3 guide: "lower its threshold significantly".

    A threshold has no part in it where self-training has not begun.
    """
    if case.labeler == "softmax" and self_trained:
        thresholds = case.class_thresholds
        if not thresholds:
            return more_pseudo_labels(case)
        pairs = zip(case.classes, thresholds, strict=True)
        lower = [max(0.1, t - 0.25) if t is not None and name in names else t for name, t in pairs]
        if lower != thresholds:
            return _class_list(lower)
    if case.settings.get("loss.class_weights") != "balanced":
        return "loss.class_weights=balanced"
    return DICE_FIRST


def generalise(case: Case) -> str:
    """Against a gap between training and validation: more weight on unlabelled data, harder augmentation."""
    if case.labeler == "none":
        return "aug=enhanced aug.color=0.5"
    if case.labeler == "discriminator":
        return f"{surer_pseudo_labels(case)} aug=basic"
    weight = (case.number("pseudo_label.weight") or 1.0) * 1.5
    return f"{setting('pseudo_label.weight', weight)} {wider_sizes(case)}"


def wider_sizes(case: Case) -> str:
    """The V3 guide's more aggressive multi-scale training: 224 to 448 at a crop of 256."""
    crop = case.number("trainer.crop_size") or 256
    least, greatest = (16 * round(crop * share / 16) for share in (7 / 8, 7 / 4))
    return f"aug=multiscale aug.size_min={least} aug.size_max={greatest}"


def learn_better(case: Case) -> str:
    """Against a low validation mIoU: the V3 guide's loss weights, or the lightweight guide's combined loss."""
    if case.labeler == "none":
        return f"loss=focal_dice {_rate(case, 0.5)}"
    if case.labeler == "discriminator":
        return larger_batch(case)
    return f"{larger_batch(case)} {DICE_FIRST}"


def larger_batch(case: Case) -> str:
    """Twice the batch."""
    return setting("trainer.batch_size", 2 * (case.number("trainer.batch_size") or 8))


def slower(case: Case) -> str:
    """Half the learning rate."""
    return _rate(case, 0.5)


def slower_and_clipped(case: Case) -> str:
    """Half the learning rate, and gradients clipped."""
    return f"{_rate(case, 0.5)} optim.grad_clip=10"


def steadier(case: Case) -> str:
    """What made V2 steadier than V1: an average of the weights; where there is one, a lower rate."""
    known = "optim.ema_decay" in case.settings
    return "optim.ema_decay=0.999" if known and case.number("optim.ema_decay") is None else _rate(case, 0.5)


def learn_more(case: Case) -> str:
    """Against underfitting: the network that the lightweight one was cut down from, or a longer run."""
    if case.is_lightweight:
        return "model=lightweight_original"
    lengths = {f"trainer.{key}": case.number(f"trainer.{key}") for key in ("max_steps", "max_epochs")}
    typed = [setting(key, 2 * now) for key, now in lengths.items() if now]
    return " ".join(typed) or "trainer.max_steps=100000"


def weaker_discriminator(case: Case) -> str:
    """Half the discriminator's learning rate."""
    return setting("pseudo_label.optim.lr", (case.number("pseudo_label.optim.lr") or 1e-4) / 2)


def stronger_discriminator(case: Case) -> str:
    """Twice the discriminator's learning rate."""
    return setting("pseudo_label.optim.lr", (case.number("pseudo_label.optim.lr") or 1e-4) * 2)


def more_patience(case: Case) -> str:
    """Four times the patience, as in V3.1."""
    return setting("trainer.early_stop_patience", 4 * (case.number("trainer.early_stop_patience") or 10))


def setting(key: str, value: float) -> str:
    """`key=value`, whole numbers in full and others with four digits."""
    return f"{key}={value:.0f}" if float(value).is_integer() else f"{key}={float(f'{value:.4g}'):g}"


def _rate(case: Case, factor: float) -> str:
    usual = RATE_LIGHTWEIGHT if case.is_lightweight else RATE
    return setting("optim.lr", (case.number("optim.lr") or usual) * factor)


def _softmax(case: Case, change: Callable[[float], float], unknown: float) -> str:
    """Every threshold changed; one threshold of `unknown` for all classes where those of the run are not known."""
    thresholds = case.class_thresholds
    if thresholds:
        return _class_list([None if t is None else change(t) for t in thresholds])
    now = case.number("pseudo_label.threshold")
    is_global = "pseudo_label.class_thresholds" in case.settings  # null there; class by class it has keys below it
    typed = setting("pseudo_label.threshold", change(now) if is_global and now is not None else unknown)
    if case.is_distillation:  # another word would leave its teacher behind
        return typed if is_global else f"pseudo_label.class_thresholds=null {typed}"
    return f"pseudo_label=softmax_global {typed}"


def _class_list(thresholds: list[float | None]) -> str:
    values = ",".join("null" if t is None else f"{t:.3g}" for t in thresholds)
    return as_typed(f"pseudo_label.class_thresholds=[{values}]")
