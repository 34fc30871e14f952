"""A frozen teacher: what it adds on both sides of a batch, and which runs may teach."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from semiseg.contracts import IGNORE_INDEX, Batch
from semiseg.errors import CheckpointError, ConfigError
from semiseg.losses import SegmentationLoss, distillation_loss
from semiseg.methods import SemiSupervised
from semiseg.models import LightweightDSConv
from semiseg.models.base import SegmentationModel
from semiseg.pseudo_label import Distillation, SoftmaxThreshold, distillation

NAMES = ("soil", "road", "palm")


class Teacher(nn.Module):
    """Two heads over dropout and BatchNorm, which tell train from eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2 * len(NAMES), 1), nn.BatchNorm2d(2 * len(NAMES)), nn.Dropout(0.5))

    def forward(self, image: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return self.body(image).unflatten(1, (2, len(NAMES))).transpose(0, 1)


class Student(SegmentationModel):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__(len(NAMES), nn.Conv2d(3, len(NAMES), 1), "tiny", encoder_weights=None)

    def forward(self, image: Tensor) -> Tensor:
        return self.encoder(image)


@pytest.fixture
def make_labeler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Distillation]:
    """A prepared labeler whose teacher has random weights."""
    torch.manual_seed(0)
    teacher = Teacher().eval().requires_grad_(False)
    monkeypatch.setattr(distillation, "load_teacher", lambda run, names: teacher)

    def make(**settings) -> Distillation:
        labeler = Distillation("runs/v3", **{"threshold": 0.4} | settings)
        labeler.prepare(len(NAMES), NAMES, total_steps=10)
        return labeler

    return make


@pytest.fixture
def batch() -> Batch:
    """Two labelled images, a row of them ignored, and three unlabelled ones with hidden masks."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, 6, 7, generator=generator)
    masks = torch.randint(len(NAMES), (5, 6, 7), generator=generator)
    masks[:2, 0] = IGNORE_INDEX
    return Batch(images[:2], masks[:2], images[2:], masks[2:])


def method(labeler: Distillation) -> SemiSupervised:
    torch.manual_seed(2)
    return SemiSupervised(Student(), SegmentationLoss(ce_weight=1.0), labeler, len(NAMES)).train()


def test_both_sides_are_drawn_to_the_teacher(make_labeler, batch: Batch) -> None:
    trained = method(make_labeler(temperature=3.0, distil_weight=0.7, weight=0.5))
    output = trained(batch, step=0)
    teacher, student = trained.labeler.teach, trained.student
    labeled = distillation_loss(student(batch.image), teacher(batch.image), 3.0, batch.mask != IGNORE_INDEX)
    unlabeled = distillation_loss(student(batch.unlabeled), teacher(batch.unlabeled), 3.0)
    logs = output.logs
    torch.testing.assert_close(logs["loss/distil"], labeled.detach())
    torch.testing.assert_close(logs["loss/distil_unlabeled"], unlabeled.detach())
    expected = logs["loss/ce"] + 0.7 * (labeled + unlabeled) + 0.5 * logs["loss/st"]
    torch.testing.assert_close(output.losses["student"], expected)
    assert set(output.losses) == {"student"} and not any(value.requires_grad for value in logs.values())


def test_pseudo_labels_are_those_of_the_thresholds_on_the_teachers_logits(make_labeler, batch: Batch) -> None:
    settings = {"class_thresholds": [None, 0.35, 0.45], "vote": "majority"}
    labeler, softmax = make_labeler(**settings), SoftmaxThreshold(**settings)
    softmax.prepare(len(NAMES), NAMES, total_steps=10)
    student = torch.randn(3, len(NAMES), 6, 7, generator=torch.Generator().manual_seed(3))
    found = labeler(student, None, batch.unlabeled, None, 0)
    expected = softmax(student, labeler.teach(batch.unlabeled), batch.unlabeled, None, 0)
    assert torch.equal(found.target, expected.target) and torch.equal(found.keep, expected.keep)
    assert 0 < found.keep.sum() < found.keep.numel()
    assert found.logs.keys() - expected.logs.keys() == {"loss/distil_unlabeled"}


def test_ignored_pixels_do_not_count_on_the_labelled_side(make_labeler, batch: Batch) -> None:
    labeler, student = make_labeler(), torch.zeros(2, len(NAMES), 6, 7, requires_grad=True)
    losses, _ = labeler.labeled_losses(student, batch.image, batch.mask)
    losses["student"].backward()
    assert student.grad is not None and student.grad[:, :, 0].abs().sum() == 0 and student.grad.abs().sum() > 0
    losses, logs = labeler.labeled_losses(student, batch.image, torch.full_like(batch.mask, IGNORE_INDEX))
    assert losses["student"] == logs["loss/distil"] == 0


def test_pseudo_labels_wait_for_their_start_and_the_teacher_does_not(make_labeler, batch: Batch) -> None:
    trained = method(make_labeler(start_step=5))
    before, after = trained(batch, step=4), trained(batch, step=5)
    assert {"loss/distil", "loss/distil_unlabeled"} <= set(before.logs)
    assert "loss/st" not in before.logs and before.counts == {}
    assert "loss/st" in after.logs and after.counts["kept"] > 0


def test_labelled_patches_alone(make_labeler, batch: Batch) -> None:
    labeler = make_labeler(unlabeled=False)
    batch.unlabeled = None
    output = method(labeler)(batch, step=0)
    assert not labeler.needs_unlabeled and make_labeler().needs_unlabeled
    assert set(output.logs) == {"loss/ce", "loss/distil", "loss/total"}


def test_the_teacher_is_frozen_and_no_part_of_what_is_saved(make_labeler, batch: Batch) -> None:
    trained = method(make_labeler())
    before = copy.deepcopy(trained.labeler.teacher_network.state_dict())
    trained.train()(batch, step=0).losses["student"].backward()
    teacher = trained.labeler.teacher_network
    assert not any(module.training for module in teacher.modules())
    assert all(each.grad is None and not each.requires_grad for each in teacher.parameters())
    torch.testing.assert_close(dict(teacher.state_dict()), dict(before), rtol=0, atol=0)
    assert trained.labeler_state() == {} and trained.discriminator is None
    trained.to("meta")
    assert all(each.is_meta for each in teacher.state_dict().values())


def test_the_teacher_takes_the_precision_of_the_step(make_labeler, batch: Batch) -> None:
    labeler = make_labeler()
    labeler.teacher_network.body.pop(2)  # dropout and BatchNorm keep the type of their input
    labeler.teacher_network.body.pop(1)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        assert labeler.teach(batch.image).dtype == torch.bfloat16
        assert labeler.labeled_losses(batch.image, batch.image, batch.mask)[0]["student"].dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "pseudo_label.temperature=0.0: give more than 0"),
        ({"distil_weight": -1.0}, "pseudo_label.distil_weight=-1.0"),
        ({"threshold": 1.0}, "pseudo_label.threshold=1.0"),
    ],
)
def test_unusable_settings_are_named(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Distillation("runs/v3", **settings)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of `NAMES`, its weights random."""
    folder = tmp_path / "v3"
    for name in ("checkpoints", ".hydra"):
        (folder / name).mkdir(parents=True)
    model = {"name": "lightweight", "_target_": "semiseg.models.LightweightDSConv", "encoder_weights": "imagenet"}
    OmegaConf.save({"model": model, "trainer": {"channels_last": False}}, folder / ".hydra" / "config.yaml")
    summary = {"classes": NAMES, "colors": {name: [number, 0, 0] for number, name in enumerate(NAMES)}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    torch.save(LightweightDSConv(len(NAMES)).state_dict(), folder / "checkpoints" / "best_model.pth")
    return folder


def test_a_run_teaches_with_its_best_weights(run: Path) -> None:
    labeler = Distillation(str(run))
    labeler.prepare(len(NAMES), NAMES, total_steps=10)
    saved = torch.load(run / "checkpoints" / "best_model.pth", weights_only=True)
    torch.testing.assert_close(dict(labeler.teacher_network.state_dict()), saved, rtol=0, atol=0)


@pytest.mark.parametrize("names", [("soil", "road"), ("road", "soil", "palm"), ("soil", "road", "water")])
def test_a_run_of_other_classes_cannot_teach(run: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        Distillation(str(run)).prepare(len(names), names, total_steps=10)
    parts = (f"pseudo_label.teacher_run={run}", "soil, road, palm", ", ".join(names), "Give a run")
    assert all(part in str(refused.value) for part in parts) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("missing", "error", "said"),
    [
        ("", ConfigError, "does not exist"),
        (".hydra/config.yaml", ConfigError, "holds no run"),
        ("summary.json", ConfigError, "has not ended. Continue it first"),
        ("checkpoints/best_model.pth", CheckpointError, "no best weights"),
    ],
)
def test_a_run_that_has_not_ended_cannot_teach(run: Path, missing: str, error: type[Exception], said: str) -> None:
    (run / missing).rename(run.with_name("moved"))
    with pytest.raises(error, match=rf"^pseudo_label\.teacher_run: .*{said}"):
        Distillation(str(run)).prepare(len(NAMES), NAMES, total_steps=10)
