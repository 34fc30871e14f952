"""Data that cannot be used: one message with the path and the remedy, status 1, no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

PATCH = "east_1_patch_0_0.png"  # labelled, so that it is trained on


def spoil(path: Path) -> None:
    """Leave what a failed download leaves. (Of half a PNG, the decoder would write lines of its own to stderr.)"""
    path.write_text("<html>404</html>", encoding="utf-8")


def test_a_root_that_does_not_exist(place, refused):
    refused(place.train_small("data.root=nowhere"), str(place.path / "nowhere"), "does not exist", "data.root=PATH")


def test_an_empty_root(place, refused):
    (place.path / "empty").mkdir()
    mapping = "data.class_mapping=data/class_mapping.csv"
    refused(place.train_small("data.root=empty", mapping), str(place.path / "empty"), "data.root=PATH")


def test_no_class_mapping(place, refused):
    (place.data / "class_mapping.csv").unlink()
    refused(place.train_small(), str(place.data / "class_mapping.csv"), "data.class_mapping=PATH")


def test_a_mask_without_an_image(place, refused):
    image = place.data / "salak-1-1" / "images" / PATCH
    image.unlink()
    refused(place.train_small(), str(place.data / "salak-1-1" / "masks" / PATCH), "without an image", "remove it")


def test_a_class_id_beyond_the_mapping(place, refused):
    mask = place.data / "salak-1-1" / "masks" / PATCH
    cv2.imwrite(str(mask), np.full((48, 48), 7, dtype=np.uint8))
    refused(place.train_small("trainer.max_steps=4"), str(mask), "class id 7", "ids 0 to 2", "class mapping")


def test_a_list_that_names_an_unknown_source(place, refused):
    (place.data / "labeled.txt").write_text("east_1\neast_9\n", encoding="utf-8")
    refused(place.train_small(), "labeled.txt", "east_9", "east_1", "data.labeled_list=PATH")


def test_a_crop_larger_than_the_image(place, refused):
    refused(place.train_small("trainer.crop_size=64"), str(place.data), "48x48", "trainer.crop_size=48")


def test_fewer_labelled_patches_than_a_batch(place, refused):
    refused(place.train_small("trainer.batch_size=9"), "8 labelled patches", "trainer.batch_size=8")


def test_no_unlabelled_patches(place, refused):
    for flight in ("salak-2-1", "salak-2-2"):
        shutil.rmtree(place.data / flight)
    status = place.train_small("data.labeled_list=null", "pseudo_label=softmax", "data.class_thresholds=null")
    refused(status, "no unlabelled patches", "pseudo_label=none")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_the_training_and_is_named(place, refused, workers: int):
    image = place.data / "salak-1-1" / "images" / PATCH
    spoil(image)
    status = place.train_small("name=run", "trainer.max_steps=4", f"trainer.num_workers={workers}")
    refused(status, str(image), "data.on_error=skip")
    run = place.run("run")
    assert run.summary()["status"] == "failed"
    assert str(image) in (run.path / "log.txt").read_text(encoding="utf-8").splitlines()[-1]


def test_a_broken_image_is_passed_over_on_demand(place):
    """Four steps of two walk through all eight patches once; evaluation leaves the broken one out as well."""
    spoil(place.data / "salak-1-1" / "images" / PATCH)
    assert place.train_small("name=run", "trainer.max_steps=4", "data.on_error=skip") == 0
    run = place.run("run")
    assert run.summary()["skipped_files"] == 1
    assert run.metrics()[-2]["data/skipped"] == 1
    assert run.summary()["skipped_in_evaluation"] == 1
    assert any(PATCH in text for text in run.summary()["warnings"])
    assert run.summary()["status"] == "finished"


def test_a_refusal_leaves_an_earlier_run_as_it_was(finished, refused):
    """The same data, now broken: neither a new run nor a resumed one touches what the first one left."""
    place, run = finished
    before = run.contents()
    (place.data / "class_mapping.csv").write_text("name;colour\n", encoding="utf-8")
    refused(place.train_small("name=next"), str(place.data / "class_mapping.csv"), "class_name,class_color")
    refused(place.command("resume=true", "name=done"), "class_mapping.csv")
    assert run.contents() == before
