"""The distance from a teacher against the formula in float64 NumPy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.losses import distillation_loss


def logits(*shape: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(scores: torch.Tensor, temperature: float, axis: int) -> np.ndarray:
    exponent = np.exp(scores.numpy().astype(np.float64) / temperature)
    return exponent / exponent.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(1, 1), (1, 3), (2, 3)])
def test_it_is_the_divergence_of_the_formula(temperature: float, student_heads: int, teacher_heads: int) -> None:
    student, teacher = logits(student_heads, 2, 4, 5, 6, seed=0), logits(teacher_heads, 2, 4, 5, 6, seed=1)
    valid = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.7
    q = softmax(teacher, temperature, axis=2).mean(axis=0)
    by_head = [(q * np.log(q / p)).sum(axis=1) for p in softmax(student, temperature, axis=2)]
    divergence = temperature**2 * np.mean(by_head, axis=0)
    squeezed = student[0] if student_heads == 1 else student
    assert distillation_loss(squeezed, teacher, temperature, valid).item() == pytest.approx(
        divergence[valid.numpy()].mean(), rel=1e-5
    )
    assert distillation_loss(squeezed, teacher, temperature).item() == pytest.approx(divergence.mean(), rel=1e-5)


def test_a_student_that_agrees_is_at_no_distance() -> None:
    same = logits(2, 4, 5, 6, seed=0)
    assert distillation_loss(same + 7, same, temperature=3).item() == pytest.approx(0, abs=1e-6)


def test_a_teacher_that_is_sure_beyond_float32_gives_a_finite_gradient() -> None:
    student = logits(1, 3, 2, 2, seed=0).requires_grad_()
    teacher = torch.tensor([500.0, 0.0, -500.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    loss = distillation_loss(student, teacher, temperature=1)
    loss.backward()
    expected = torch.nn.functional.cross_entropy(student.detach(), torch.zeros(1, 2, 2, dtype=torch.int64))
    torch.testing.assert_close(loss.detach(), expected)
    assert student.grad is not None and bool(student.grad.isfinite().all())


def test_a_high_temperature_matches_logits() -> None:
    """The paper's equation 4: the gradient of a pixel tends to (student - teacher) / C for logits of mean 0."""
    student, teacher = (each - each.mean(dim=1, keepdim=True) for each in (logits(1, 5, 1, 1, seed=s) for s in (0, 1)))
    student.requires_grad_()
    distillation_loss(student, teacher, temperature=2000).backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 5, rtol=0.01, atol=1e-3)


def test_pixels_that_are_not_valid_have_no_part_and_none_valid_is_zero() -> None:
    student, teacher = logits(1, 3, 2, 2, seed=0).requires_grad_(), logits(1, 3, 2, 2, seed=1).requires_grad_()
    valid = torch.tensor([[[True, False], [False, False]]])
    distillation_loss(student, teacher, 2, valid).backward()
    assert student.grad is not None and teacher.grad is None
    assert student.grad[..., 0, 0].abs().sum() > 0 and student.grad.flatten(2)[..., 1:].abs().sum() == 0
    student.grad = None
    loss = distillation_loss(student, teacher, 2, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0 and torch.equal(student.grad, torch.zeros_like(student))


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = logits(1, 3, 4, 4, seed=0).bfloat16(), logits(2, 1, 3, 4, 4, seed=1).bfloat16()
    found = distillation_loss(student, teacher, 3)
    assert found.dtype == torch.float32
    assert found.item() == distillation_loss(student.float(), teacher.float(), 3).item()


def test_the_device_is_not_waited_for() -> None:
    valid = torch.ones(2, 4, 4, dtype=torch.bool, device="meta")
    student, teacher = torch.zeros(2, 3, 4, 4, device="meta"), torch.zeros(3, 2, 3, 4, 4, device="meta")
    assert distillation_loss(student, teacher, 2, valid).shape == ()
