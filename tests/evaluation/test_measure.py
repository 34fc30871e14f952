"""Two networks of one line and their ensemble on real files, recomputed from the files with NumPy and OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.evaluation.conftest import CLASSES
from torch import nn

from semiseg.data.batches import normalize
from semiseg.data.build import DataBundle
from semiseg.data.dataset import PatchReader
from semiseg.data.loader import fixed_train_subset
from semiseg.engine.device import Hardware
from semiseg.engine.evaluator import Evaluator
from semiseg.errors import DataError
from semiseg.evaluation.boundary import band_width
from semiseg.evaluation.measure import Evaluation, measure
from semiseg.evaluation.predictors import Resized
from semiseg.evaluation.subject import Subject
from semiseg.evaluation.tables import classes, verdicts

CPU = torch.device("cpu")


def files(tree: Path, sources: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Source, image [H, W, 3] RGB and mask of each patch."""
    found = []
    for path in sorted(tree.glob("*/images/*.png")):
        if path.name[0] in sources:
            mask = cv2.imread(str(path.parents[1] / "masks" / path.name), cv2.IMREAD_GRAYSCALE)
            found.append((path.name[0], cv2.imread(str(path))[..., ::-1], mask))
    return found


def predicted(net, image: np.ndarray) -> np.ndarray:
    """Probabilities [C, H, W], without PyTorch."""
    scores = np.einsum("kc,hwc->khw", net.weight.numpy().astype(np.float64), image / 64 - 2)
    raised = np.exp(scores - scores.max(0))
    return raised / raised.sum(0)


def matrix_of(prediction: np.ndarray, mask: np.ndarray) -> np.ndarray:
    matrix = np.zeros((3, 3), np.int64)
    np.add.at(matrix, (mask[mask != 255], prediction[mask != 255]), 1)
    return matrix


def both(pixel_net: Callable, subject: Subject, **settings) -> Evaluation:
    return measure({"one": pixel_net(1), "two": pixel_net(2)}, subject, 4, CPU, **settings)


def test_every_system_equals_its_recomputation(tree: Path, subject: Subject, pixel_net: Callable) -> None:
    found = both(pixel_net, subject)
    nets = {"one": [pixel_net(1)], "two": [pixel_net(2)], "ensemble": [pixel_net(1), pixel_net(2)]}
    assert found.ensemble is found.headline and found.ensemble is not None
    for scores in (*found.members, found.ensemble):
        matrices, ece_parts = {"a": 0, "b": 0}, []
        for source, image, mask in files(tree, "ab"):
            probability = np.mean([predicted(net, image) for net in nets[scores.name]], axis=0)
            matrices[source] = matrices[source] + matrix_of(probability.argmax(0), mask)
            known = mask != 255
            ece_parts.append(np.c_[probability.max(0)[known], (probability.argmax(0) == mask)[known]])
        assert (scores.matrices == np.stack([matrices["a"], matrices["b"]])).all()
        sure, right = np.concatenate(ece_parts).T
        bins = np.ceil(sure * 15)
        ece = sum(abs((right - sure)[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
        values, matrix = scores.values(), matrices["a"] + matrices["b"]
        hit = np.diag(matrix)
        iou = hit / (matrix.sum(0) + matrix.sum(1) - hit)
        assert values["ece"] == pytest.approx(ece, abs=1e-6)
        assert values["miou"] == pytest.approx(iou[1:].mean()) and values["miou_all"] == pytest.approx(iou.mean())
        assert values["mean_accuracy"] == pytest.approx((hit / matrix.sum(1))[1:].mean())
        assert values["accuracy"] == pytest.approx(hit.sum() / matrix.sum())
        assert values["fw_iou"] == pytest.approx((iou * matrix.sum(1)).sum() / matrix.sum())


def test_the_gain_is_over_the_best_and_over_the_mean(subject: Subject, pixel_net: Callable) -> None:
    found = both(pixel_net, subject)
    assert found.ensemble is not None
    one, two, joint = (each.values() for each in (*found.members, found.ensemble))
    gains = found.gains()
    assert gains["miou"]["over_best"] == pytest.approx(joint["miou"] - max(one["miou"], two["miou"]))
    assert gains["miou"]["over_mean"] == pytest.approx(joint["miou"] - (one["miou"] + two["miou"]) / 2)
    assert gains["ece"]["over_best"] == pytest.approx(joint["ece"] - min(one["ece"], two["ece"]))
    assert gains["ece"]["over_mean"] == pytest.approx(joint["ece"] - (one["ece"] + two["ece"]) / 2)


def test_an_ensemble_that_loses_is_said_to_and_its_tables_are_its_own(subject: Subject, pixel_net: Callable) -> None:
    """The worse member stands for an ensemble."""
    found = both(pixel_net, subject)
    assert found.ensemble is not None
    best = max(found.members, key=lambda each: each.values()["miou"])
    losing = replace(found, ensemble=replace(next(m for m in found.members if m is not best), name="ensemble"))
    won, lost = best.values(), losing.ensemble.values() if losing.ensemble else {}
    (said, *_) = verdicts(losing)
    by = won["miou"] - lost["miou"]
    assert by > 0 and f"worse than {best.name} alone: mIoU {won['miou']:.4f} -> {lost['miou']:.4f}" in said
    assert f"worse by {by:.4f}" in said
    assert classes(losing).title == "Classes, of the ensemble"
    assert classes(measure({"one": pixel_net(1)}, subject, 4, CPU)).title == "Classes"
    calm = min(found.members, key=lambda each: each.values()["ece"])
    rough = replace(next(m for m in found.members if m is not calm), name="ensemble")
    assert any(f"trusted than that of {calm.name}" in line for line in verdicts(replace(found, ensemble=rough)))
    assert verdicts(replace(found, ensemble=replace(best, name="ensemble"), members=[best])) == []


def test_one_system_and_twice_the_same_are_alike(subject: Subject, pixel_net: Callable) -> None:
    alone = measure({"one": pixel_net(1)}, subject, 4, CPU)
    twice = measure({"one": pixel_net(1), "again": pixel_net(1)}, subject, 4, CPU)
    assert alone.ensemble is None and alone.gains() == {} and twice.ensemble is not None
    assert (alone.headline.matrices == twice.ensemble.matrices).all()
    assert twice.gains()["miou"] == {"over_best": 0, "over_mean": 0}


class WholeNet(nn.Module):
    """Each pixel by its own colour and that of the whole image, as global pooling does: padding would change all."""

    classes = CLASSES

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weight = torch.tensor([[1.0, -0.5, 0.2], [-0.4, 1.0, -0.6], [0.1, -0.3, 1.0]])
        seen = image + 9 * image.mean((2, 3), keepdim=True)
        return torch.einsum("kc,bchw->bkhw", weight, seen)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return self(normalize(images)).softmax(1)


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_neighbours_in_a_batch_change_no_figure(tree: Path, subject: Subject, batch_size: int) -> None:
    net, bundle = WholeNet(), subject.bundle
    alone = measure({"one": net}, subject, 1, CPU).headline
    found = measure({"one": net}, subject, batch_size, CPU).headline
    assert (found.matrices == alone.matrices).all() and (found.boundary == alone.boundary).all()
    assert (found.confidence.counts == alone.confidence.counts).all()
    evaluated = Evaluator(bundle, batch_size, Hardware(CPU, torch.float32, 0))(net)
    expected = [
        matrix_of(net.probabilities(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].argmax(0).numpy(), mask)
        for _, image, mask in files(tree, "ab")
    ]
    assert (evaluated.val_matrices == np.stack(expected)).all()
    assert (evaluated.val.matrix == alone.metrics.matrix).all()
    assert evaluated.val_sources.tolist() == [source for source, *_ in files(tree, "ab")]
    reader = PatchReader(bundle.index, bundle.classes, with_masks=True)
    seen = [
        matrix_of(net.probabilities(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].argmax(0).numpy(), mask)
        for image, mask in (reader.read(int(patch)) for patch in fixed_train_subset(bundle, len(bundle.pools.val), 0))
    ]
    assert len(seen) > 1 and (evaluated.train.matrix == np.sum(seen, axis=0)).all()


def test_a_network_is_evaluated_in_eval_mode_and_trains_on(subject: Subject) -> None:
    modes = []
    net = WholeNet()
    net.register_forward_hook(lambda *_: modes.append(net.training))
    net.train()
    Evaluator(subject.bundle, 3, Hardware(CPU, torch.float32, 0))(net)
    assert net.training and modes and not any(modes)


def test_boundaries_take_the_width_of_each_image(tree: Path, subject: Subject, pixel_net: Callable) -> None:
    found = measure({"one": pixel_net(1)}, subject, 6, CPU).headline.boundary
    union = np.zeros(3, np.int64)
    for _, image, mask in files(tree, "ab"):
        prediction = np.where(mask == 255, 255, predicted(pixel_net(1), image).argmax(0))
        kernel = np.ones((2 * band_width(*mask.shape) + 1,) * 2, np.uint8)
        for number in range(3):
            bands = []
            for labels in (mask, prediction):
                region = (labels == number).astype(np.uint8)
                inner = cv2.erode(region, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
                bands.append((region == 1) & (inner == 0))
            union[number] += (bands[0] | bands[1]).sum()
    assert found[:, 1].tolist() == union.tolist()


def test_resized_images_are_held_against_the_truth_at_its_own_size(subject: Subject, pixel_net: Callable) -> None:
    own = measure({"one": pixel_net(1)}, subject, 4, CPU)
    resized = measure({"one": Resized(pixel_net(1), 48)}, subject, 4, CPU)
    assert resized.headline.metrics.matrix.sum() == own.headline.metrics.matrix.sum()
    assert (resized.headline.matrices != own.headline.matrices).any()


def test_progress_is_told_and_unreadable_patches_are_named(bundle: DataBundle, pixel_net: Callable) -> None:
    subject = Subject(bundle, bundle.pools.val, (), [])
    broken = bundle.index.image_path(int(bundle.pools.val[1]))
    broken.write_bytes(b"broken")
    with pytest.raises(DataError, match=broken.name):
        measure({"one": pixel_net(1)}, subject, 4, CPU)
    bundle.config.on_error = "skip"
    seen: list[int] = []
    found = measure({"one": pixel_net(1)}, subject, 4, CPU, advance=seen.append)
    assert seen == [4, 2] and found.unread == [str(broken)]


def test_masks_without_truth_are_refused(tree: Path, subject: Subject, pixel_net: Callable) -> None:
    for path in tree.glob("*/masks/*.png"):
        cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 255))
    with pytest.raises(DataError, match="Every pixel of the 6 patches is ignored"):
        measure({"one": pixel_net(1)}, subject, 4, CPU)
