"""Settings that cannot be: one message that names the setting and what is valid, before any data is read."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("model=v9", ["model=v9", "Valid:", "v1, v2, v3"]),
        ("losss=ce", ["losss", "Did you mean loss"]),
        ("trainer.max_stepz=5", ["trainer", "max_stepz", "max_steps"]),
        ("loss.ce_wieght=1", ["ce_wieght", "ce_weight"]),
        ("trainer.max_steps=few", ["trainer.max_steps", "few"]),
        ("trainer.batch_size=0", ["trainer.batch_size is 0", "1 or more"]),
        ("trainer.precision=fp8", ["trainer.precision", "fp8", "bf16"]),
        ("trainer.max_steps=null", ["trainer.max_steps", "trainer.max_epochs"]),
        ("data.split_by=image", ["data.split_by", "source, patch"]),
        ("data.val_split=1.5", ["data.val_split", "between 0 and 1"]),
        ("optim.optimizer=rmsprop", ["optim.optimizer", "sgd, adam, adamw"]),
        ("aug.color=7", ["aug.color"]),
        ("+aug.colour=0.5", ["colour"]),
        ("+loss.cew=1", ["loss.cew is no setting", "ce_weight"]),
        ("loss.head_loss=sum", ["loss.head_loss=sum"]),
        ("loss.class_weights=[1,2]", ["loss.class_weights has 2 values"]),
        ("trainer.unlabeled_batch_size=1", ["cannot train on a batch of 1 image", "2 or more"]),
        ("model.num_heads=abc", ["model.num_heads is 'abc'", "a whole number"]),
        ("restore_from=nothing.pth", ["nothing.pth does not exist"]),
        ("restore_from=.", ["restore_from=. is a folder"]),
        ("restore_from=''", ["restore_from= is empty"]),
        ("model.output_stride=5", ["output_stride"]),
        ("tracking.uri=file:///tmp/x", ["tracking"]),
    ],
)
def test_one_message(place, refused, typed: str, parts: list[str]):
    refused(place.train_small("name=run", "model=v3", "trainer.max_epochs=null", typed), *parts)
    assert not place.run("run").path.exists()


def test_a_network_that_finds_no_room_is_one_message(place, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr("semiseg.methods.SemiSupervised.to", full)
    ended = place.train_small("name=run", "model=v3", "trainer.max_epochs=null")
    refused(ended, "Out of memory before the first step", "hydra.launcher.n_jobs=1")
    assert not place.run("run").path.exists()


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        ("loss.head_loss=sum", "loss.head_loss"),
        ("model.num_heads=abc", "model.num_heads"),
        ("aug.color=7", "aug.color"),
        ("restore_from=absent.pth", "absent.pth"),
        ("seed=true", "seed is True; it must be a whole number"),
    ],
)
def test_wrong_values_are_found_before_the_data_is_read(place, refused, typed: str, part: str):
    refused(place.train_small("model=v3", "aug=basic", "data.root=nowhere", typed), part)


def test_a_missing_value_is_asked_for(place, refused):
    refused(place.command("data=salak", "name=run"), "data.root", "data.root=PATH")
    refused(place.command("experiment=distil", "name=run"), "pseudo_label.teacher_run=PATH")
    refused(place.command("seed=abc", "name=run"), "seed")
    assert not place.run("run").path.exists()


def test_batches_of_one_are_refused_where_the_network_cannot_learn_from_them(place, refused):
    refused(place.train_small("model=lightweight", "trainer.batch_size=1"), "trainer.batch_size", "2 or more")
