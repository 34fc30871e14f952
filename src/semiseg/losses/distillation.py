"""The distance of a student's class probabilities from a teacher's (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from torch import Tensor

from semiseg.contracts import as_heads, mean_probability


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, valid: Tensor | None = None
) -> Tensor:
    """Kullback-Leibler divergence from the teacher's probabilities to the student's, both softened: 0-d float32.

    Both are softmax(logits / temperature). The heads of a teacher are averaged as probabilities; each head of a student
    has a divergence of its own, and these are averaged. The mean is over the pixels of `valid` [B, H, W] bool, None for
    all, and 0 with a zero gradient where there are none. Times temperature squared, without which the gradients would
    shrink by as much (section 2 of the paper). Logits [B, C, H, W] or [K, B, C, H, W]; the teacher gets no gradient.
    """
    target = mean_probability(teacher_logits.detach().float() / temperature)
    log_probs = (as_heads(student_logits).float() / temperature).log_softmax(dim=2).mean(dim=0)
    divergence = (target.xlogy(target) - target * log_probs).sum(dim=1)
    if valid is None:
        return temperature**2 * divergence.mean()
    return temperature**2 * (divergence * valid).sum() / valid.sum().clamp_min(1)
