"""Each file of conf/pseudo_label builds what its name says."""

from pathlib import Path

import hydra
import pytest
import torch

from semiseg.pseudo_label import (
    DiscriminatorGate,
    Distillation,
    NoPseudoLabels,
    SoftmaxThreshold,
    distillation,
)

CONF = Path(__file__).parents[2] / "conf"
LABELERS = {
    "none": NoPseudoLabels,
    "softmax": SoftmaxThreshold,
    "softmax_global": SoftmaxThreshold,
    "distillation": Distillation,
    "discriminator": DiscriminatorGate,
    "discriminator_scheduled": DiscriminatorGate,
}
CLASS_WISE = "+data.class_thresholds={road: 0.7, water: 0.6, background: null}"


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher without its run."""
    monkeypatch.setattr(distillation, "load_teacher", lambda run, names: torch.nn.Identity())


def build(name):
    overrides = ["+optim.warmup_steps=1000", "+optim.grad_clip=null", CLASS_WISE]
    overrides += ["pseudo_label.teacher_run=x"] if name == "distillation" else []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        labeler = hydra.utils.instantiate(hydra.compose(f"pseudo_label/{name}", overrides=overrides).pseudo_label)
    labeler.prepare(3, ("background", "road", "water"), total_steps=100)
    return labeler


@pytest.mark.parametrize("name", LABELERS)
def test_each_config_builds_its_labeler(name):
    assert type(build(name)) is LABELERS[name]


def test_every_config_is_among_them():
    assert LABELERS.keys() == {path.stem for path in (CONF / "pseudo_label").glob("*.yaml")}


def test_softmax_takes_the_thresholds_of_the_data_and_softmax_global_does_not():
    assert build("softmax").thresholds.tolist() == pytest.approx([torch.inf, 0.7, 0.6])
    assert build("softmax_global").thresholds.tolist() == pytest.approx([0.65] * 3)
