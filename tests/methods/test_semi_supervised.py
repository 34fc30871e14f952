"""One iteration with each pseudo-labeler, on a network of two layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from semiseg.contracts import IGNORE_INDEX, StepOutput


def gradients(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]


def finite(output: StepOutput) -> bool:
    values = [*output.losses.values(), *output.logs.values()]
    return all(bool(torch.isfinite(value)) for value in values)


def backward(output: StepOutput) -> None:
    for loss in output.losses.values():
        loss.backward()


def test_supervised_step_is_the_cross_entropy_alone(make_method, supervised, batch) -> None:
    method = make_method(supervised)
    torch.manual_seed(5)
    output = method(batch, step=0)
    torch.manual_seed(5)
    expected = F.cross_entropy(method.student(batch.image), batch.mask, ignore_index=IGNORE_INDEX)
    assert set(output.losses) == {"student"}
    assert set(output.logs) == {"loss/ce", "loss/total"}
    assert output.counts == {}
    torch.testing.assert_close(output.losses["student"], expected)
    assert method.discriminator is None


def test_softmax_step_adds_the_weighted_self_training_loss(make_method, make_softmax, batch) -> None:
    output = make_method(make_softmax(weight=0.3))(batch, step=0)
    assert set(output.losses) == {"student"}
    assert set(output.logs) == {"loss/ce", "loss/st", "loss/total", "pseudo_label/confidence"}
    expected = output.logs["loss/ce"] + 0.3 * output.logs["loss/st"]
    torch.testing.assert_close(output.losses["student"].detach(), expected)
    torch.testing.assert_close(output.logs["loss/total"], expected)
    assert output.counts["images"] == 2 and output.images == 4
    assert output.counts["kept"] == output.counts["total"] == batch.unlabeled.shape[0] * batch.unlabeled[0, 0].numel()


def test_discriminator_step_adds_matching_to_the_student_and_a_loss_of_its_own(make_method, make_gate, batch) -> None:
    method = make_method(make_gate(weight=0.3, fm_weight=0.1))
    output = method(batch, step=0)
    assert set(output.losses) == {"student", "discriminator"}
    assert {"loss/ce", "loss/st", "loss/fm", "loss/discriminator", "loss/total"} <= set(output.logs)
    logs = output.logs
    expected = logs["loss/ce"] + 0.1 * logs["loss/fm"] + 0.3 * logs["loss/st"]
    torch.testing.assert_close(output.losses["student"].detach(), expected)
    assert output.counts["images"] == 2
    assert method.discriminator is method.labeler.discriminator


def test_student_and_discriminator_losses_reach_their_own_network_only(make_method, make_gate, batch) -> None:
    method = make_method(make_gate())
    output = method(batch, step=0)
    output.losses["student"].backward()
    assert gradients(method.student)
    assert not gradients(method.discriminator)
    method.zero_grad(set_to_none=True)
    output.losses["discriminator"].backward()
    assert gradients(method.discriminator)
    assert not gradients(method.student)


@pytest.mark.parametrize(("step", "keys"), [(0, {"student"}), (5, {"student", "discriminator"})])
def test_before_its_start_the_unlabelled_batch_is_not_looked_at(make_method, make_gate, batch, step, keys) -> None:
    method = make_method(make_gate(start_step=10, discriminator_start=5))
    output = method(batch, step)
    assert set(output.losses) == keys
    assert "loss/st" not in output.logs
    assert output.counts == {}
    assert len(method.student.modes) == (1 if step < 5 else 2)
    assert output.images == (2 if step < 5 else 4)


def test_student_teaches_in_eval_mode_without_gradient_and_trains_again(make_method, make_softmax, batch) -> None:
    method = make_method(make_softmax())
    statistics = method.student.encoder[1]
    output = method(batch, step=0)
    assert method.student.modes == [(True, True), (False, False), (True, True)]
    assert all(module.training for module in method.student.modules())
    assert statistics.num_batches_tracked == 2  # the teacher's pass moves no statistics
    backward(output)
    assert gradients(method.student)


def test_average_teaches_when_asked(make_method, make_softmax, batch) -> None:
    method = make_method(make_softmax(teacher="ema"), ema_decay=0.9)
    with torch.no_grad():
        method.ema.network.head[1].bias.copy_(torch.tensor([0.0, 0.0, 100.0]))
    output = method(batch, step=0)
    assert method.student.modes == [(True, True), (True, True)]
    assert output.counts["class_kept"].tolist() == [0, 0, output.counts["total"]]
    assert not gradients(method.ema)
    assert method.evaluated is method.ema.network


def test_student_is_evaluated_without_an_average(make_method, supervised) -> None:
    method = make_method(supervised)
    assert method.evaluated is method.student


@pytest.mark.parametrize("labeler", ["make_softmax", "make_gate"])
def test_nothing_kept_gives_a_finite_gradient(make_method, batch, labeler, request) -> None:
    method = make_method(request.getfixturevalue(labeler)(threshold=0.999999))
    output = method(batch, step=0)
    assert output.counts["kept"] == 0
    assert output.logs["loss/st"] == 0
    backward(output)
    assert finite(output)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients(method))


@pytest.mark.parametrize("labeler", ["make_softmax", "make_gate"])
def test_wholly_ignored_masks_give_a_finite_gradient(make_method, batch, labeler, request) -> None:
    method = make_method(request.getfixturevalue(labeler)())
    for mask in (batch.mask, batch.hidden_mask, batch.real_mask):
        mask.fill_(IGNORE_INDEX)
    output = method(batch, step=0)
    assert output.logs["loss/ce"] == 0
    assert output.counts["class_audited"].sum() == 0
    backward(output)
    assert finite(output)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients(method))


def test_own_loss_of_the_labeler_replaces_the_supervised_one(make_method, make_softmax, batch) -> None:
    class Sevens(torch.nn.Module):
        def forward(self, logits, target):
            return 7 + 0 * logits.sum(), {}

    output = make_method(make_softmax(st_loss=Sevens()))(batch, step=0)
    assert output.logs["loss/st"] == 7


def test_labeler_state_leaves_the_discriminator_to_its_own_entry(make_method, make_gate) -> None:
    method = make_method(make_gate())
    assert not any(name.startswith("discriminator") for name in method.labeler_state())
    assert any(name.startswith("labeler.discriminator") for name in method.state_dict())


def test_a_teacher_that_fails_leaves_the_student_in_train_mode(make_method, make_softmax, batch, monkeypatch) -> None:
    """Memory may run out in it, and the training go on with smaller batches."""
    method = make_method(make_softmax())
    forward = method.student.forward

    def failing(image: torch.Tensor) -> torch.Tensor:
        if not method.student.training:
            raise torch.OutOfMemoryError
        return forward(image)

    monkeypatch.setattr(method.student, "forward", failing)
    with pytest.raises(torch.OutOfMemoryError):
        method(batch, step=0)
    assert all(module.training for module in method.student.modules())
