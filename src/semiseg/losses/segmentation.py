"""The weighted sum of cross-entropy, Dice and focal that every recipe configures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.contracts import IGNORE_INDEX, as_heads
from semiseg.errors import ConfigError
from semiseg.losses import functional

BALANCED = "balanced"
HEAD_LOSSES = ("each", "mean")


class SegmentationLoss(nn.Module):
    """Weighted sum of cross-entropy, Dice and focal loss; a term with weight 0 is not computed.

    `class_weights` scale cross-entropy and focal (Dice weighs classes alike): null, one weight a class, or "balanced",
    which stays open until `set_class_weights`. With several heads, `head_loss` "each" averages the heads' losses and
    "mean" takes the loss of their averaged logits. Raises ConfigError for settings that cannot be used.
    """

    weight: Tensor | None  # [C] float32

    def __init__(
        self,
        ce_weight: float = 0.0,
        dice_weight: float = 0.0,
        focal_weight: float = 0.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        dice_smooth: float = 1.0,
        class_weights: Sequence[float] | str | None = None,
        head_loss: str = "each",
    ) -> None:
        super().__init__()
        self.term_weights = {"ce": ce_weight, "dice": dice_weight, "focal": focal_weight}
        _check_not_negative(**{f"{name}_weight": weight for name, weight in self.term_weights.items()})
        _check_not_negative(focal_alpha=focal_alpha, focal_gamma=focal_gamma, dice_smooth=dice_smooth)
        if not any(self.term_weights.values()):
            raise ConfigError("loss has no term: set loss.ce_weight, loss.dice_weight or loss.focal_weight above 0.")
        if head_loss not in HEAD_LOSSES:
            raise ConfigError(f"loss.head_loss={head_loss}: give one of {', '.join(HEAD_LOSSES)}.")
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.dice_smooth = dice_smooth
        self.head_loss = head_loss
        self._init_class_weights(class_weights)

    def _init_class_weights(self, class_weights: Sequence[float] | str | None) -> None:
        if isinstance(class_weights, str) and class_weights != BALANCED:
            raise ConfigError(f"loss.class_weights={class_weights}: give null, {BALANCED} or one weight a class.")
        # A setting, not a state: a resumed run takes it from its config, so the checkpoint leaves it out.
        self.register_buffer("weight", None, persistent=False)
        self.needs_class_weights = class_weights == BALANCED
        if class_weights is not None and not isinstance(class_weights, str):
            self.set_class_weights(torch.tensor(list(class_weights), dtype=torch.float32))

    def set_class_weights(self, weight: Tensor) -> None:
        """Give the class weights, [C]; with "balanced" this is due once before the first forward."""
        if weight.dim() != 1 or not bool((torch.isfinite(weight) & (weight >= 0)).all()) or not bool(weight.any()):
            raise ConfigError(
                f"loss.class_weights={weight.tolist()}: give one finite weight a class, none below 0 and not all 0."
            )
        self.weight = weight.float()
        self.needs_class_weights = False

    def forward(self, logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss and its unweighted terms without gradient ("ce", "dice", "focal"), all 0-d float32.

        logits [B, C, H, W] or [K, B, C, H, W]; target [B, H, W] int64. A batch without a valid pixel gives exactly 0
        and a zero gradient.
        """
        heads = as_heads(logits).float()
        if self.head_loss == "mean":
            heads = heads.mean(dim=0, keepdim=True)
        valid = target != IGNORE_INDEX
        pixel_weight = functional.pixel_weight(target, valid, self._class_weights(heads.shape[2]))
        by_head = [self._terms(head, target, valid, pixel_weight) for head in heads]
        terms = {name: torch.stack([head[name] for head in by_head]).mean() for name in by_head[0]}
        total = torch.stack([self.term_weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def _terms(self, logits: Tensor, target: Tensor, valid: Tensor, pixel_weight: Tensor) -> dict[str, Tensor]:
        log_probs = F.log_softmax(logits, dim=1)
        nll = functional.pixel_nll(log_probs, target)
        terms = {}
        if self.term_weights["ce"]:
            terms["ce"] = functional.cross_entropy(nll, pixel_weight)
        if self.term_weights["dice"]:
            terms["dice"] = functional.dice(log_probs, target, valid, self.dice_smooth)
        if self.term_weights["focal"]:
            terms["focal"] = functional.focal(nll, pixel_weight, self.focal_alpha, self.focal_gamma)
        return terms

    def _class_weights(self, num_classes: int) -> Tensor | None:
        if self.needs_class_weights:
            raise ConfigError(f"loss.class_weights={BALANCED} is not resolved: call set_class_weights before training.")
        self.check_classes(num_classes)
        return self.weight

    def check_classes(self, num_classes: int, setting: str = "loss") -> None:
        """Raises ConfigError for class weights that are not one a class; `setting` is where they were given."""
        if self.weight is not None and self.weight.numel() != num_classes:
            raise ConfigError(
                f"{setting}.class_weights has {self.weight.numel()} values and the model {num_classes} classes: "
                f"give {num_classes} values, {BALANCED} or null."
            )


def _check_not_negative(**settings: float) -> None:
    for name, value in settings.items():
        if value < 0:
            raise ConfigError(f"loss.{name}={value}: give 0 or more.")
