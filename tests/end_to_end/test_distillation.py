"""A trained run teaches a lightweight one, which is stopped, continued and evaluated without the teacher's folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from tests.end_to_end.conftest import CLASSES, Workplace
from tests.end_to_end.networks import thin_networks

from semiseg.cli import run_verb
from semiseg.engine.engine import Engine
from semiseg.models import LightweightDSConv

SHORT = ("trainer.max_steps=2", "trainer.eval_every=2", "trainer.channels_last=false")
TEACHER = ("model=v3", "model.encoder=resnet18", "model.num_heads=2", "aug=none", *SHORT)
STUDENT = ("experiment=distil", "pseudo_label.teacher_run=runs/semiseg/teacher", "trainer.save_latest_every=1", *SHORT)
STUDENT += ("model.aspp_channels=8", "model.decoder_channels=8")


def student_network() -> LightweightDSConv:
    return LightweightDSConv(len(CLASSES), aspp_channels=8, decoder_channels=8)


@pytest.fixture(scope="module")
def taught(shared_place: Workplace) -> Iterator[Workplace]:
    """A teacher, and a student that nothing stopped."""
    with thin_networks():
        assert shared_place.train("name=teacher", *TEACHER) == 0
        assert shared_place.train("name=student", *STUDENT) == 0
        yield shared_place


def test_a_student_learns_from_both_sides_and_keeps_nothing_of_the_teacher(taught: Workplace):
    student, teacher = taught.run("student"), taught.run("teacher")
    logged = student.metrics()[0]
    assert logged["loss/distil"] > 0 and logged["loss/distil_unlabeled"] > 0 and "st/coverage" in logged
    assert student.load()["labeler_state"] == {}
    assert student.names() == teacher.names() - {"best_model_ema.pth", "final_model_ema.pth"}
    assert student.summary()["parameters"] == sum(p.numel() for p in student_network().parameters())


def test_a_student_that_was_stopped_ends_as_if_never_stopped(taught: Workplace, monkeypatch: pytest.MonkeyPatch):
    original = Engine._train_step

    def stopping(self: Engine, *args) -> None:
        if self.step == 1:
            monkeypatch.setattr(Engine, "_train_step", original)
            raise KeyboardInterrupt
        original(self, *args)

    monkeypatch.setattr(Engine, "_train_step", stopping)
    assert taught.train("name=stopped", *STUDENT) == 130
    assert taught.command("resume=true", "name=stopped") == 0
    stopped, expected = taught.run("stopped"), taught.run("student")
    assert stopped.metrics() == expected.metrics()
    got, wanted = stopped.load()["model_state"], expected.load()["model_state"]
    assert got.keys() == wanted.keys() and not [name for name in got if not torch.equal(got[name], wanted[name])]


def test_a_student_without_a_teacher_is_refused_before_it_trains(taught: Workplace, refused):
    refused(taught.train("name=none", "experiment=distil"), "pseudo_label.teacher_run=PATH")
    absent = "pseudo_label.teacher_run=runs/semiseg/absent"
    refused(taught.train("name=none", *STUDENT, absent), "pseudo_label.teacher_run: ", "absent does not exist")
    assert not taught.run("none").path.exists()


def test_a_student_is_evaluated_without_its_teacher(taught: Workplace):
    """The last test of the file: the teacher's folder is gone after it."""
    shutil.rmtree(taught.run("teacher").path)
    with taught.entered():
        assert run_verb("evaluate", ["run=runs/semiseg/student", "out=scores", "device=cpu"]) == 0
    assert (taught.path / "scores" / "evaluation.json").is_file()
