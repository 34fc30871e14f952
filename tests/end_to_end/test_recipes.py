"""Every recipe of `conf/` composes, builds its real networks and trains a step; and the demo command runs."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir

from semiseg.config import conf_dir
from semiseg.console import PlainConsole
from semiseg.models import LightweightDSConv
from semiseg.pseudo_label import distillation
from semiseg.run import Run
from semiseg.run_folder import RunFolder

SEVEN_CLASSES = ("background", "Badan Air", "Bangunan", "Jalan", "Pohon Berinang", "Snake Fruit", "Tanah Terbuka")
PARTNERS = ("loss", "pseudo_label", "aug", "optim", "trainer")
AT_ONCE = (
    "name=run",
    "trainer.max_steps=2",
    "trainer.max_epochs=null",
    "trainer.crop_size=32",
    "pseudo_label.start_step=0",
)
PRUNED = ("lightweight_pruned", "prune")  # cut from a run: trained in test_prune.py
TAUGHT = ("experiment=distil", "pseudo_label=distillation")  # by the run of another training


def words(group: str) -> list[str]:
    """The choices of a group: the names of its files."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml") if path.stem not in PRUNED)


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher without its run, for the recipes that have one."""
    network = LightweightDSConv(len(SEVEN_CLASSES)).eval().requires_grad_(False)
    monkeypatch.setattr(distillation, "load_teacher", lambda run, names: network)


@pytest.fixture
def losses_of_a_step(place) -> Callable[..., dict[str, float]]:
    """Compose a run on the tiny data set with Salak's classes, train one step and return what it logged."""
    rows = [f"{name},{number} 0 0" for number, name in enumerate(SEVEN_CLASSES)]
    (place.data / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]), encoding="utf-8")

    def step(*overrides: str) -> dict[str, float]:
        taught = ("pseudo_label.teacher_run=x",) if any(word in overrides for word in TAUGHT) else ()
        typed = [o for o in place.typed(*AT_ONCE, *overrides, *taught) if "data.class_thresholds" not in o]
        with place.entered(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", overrides=typed)
            run = Run(config, RunFolder(place.path / "run"), PlainConsole(stream=io.StringIO()), {})
            run.method.train()
            stream = run.engine.open_stream({})
            run.engine._train_step(stream)
            stream.close()
        averages, counts = run.engine.meter.read()
        assert bool(counts) == run.method.labeler.needs_unlabeled
        return averages

    return step


@pytest.mark.parametrize("model", words("model"))
def test_every_model(losses_of_a_step, model: str):
    losses = losses_of_a_step(f"model={model}")
    assert math.isfinite(losses["loss/total"]) and losses["loss/total"] > 0


@pytest.mark.parametrize("experiment", words("experiment"))
def test_every_experiment(losses_of_a_step, experiment: str):
    assert math.isfinite(losses_of_a_step(f"experiment={experiment}")["loss/total"])


@pytest.mark.parametrize(("group", "word"), [(group, word) for group in PARTNERS for word in words(group)])
def test_every_partner(losses_of_a_step, group: str, word: str):
    """A choice of a group in the place of the system's own."""
    losses = losses_of_a_step("model=lightweight", f"{group}={word}")
    assert math.isfinite(losses["loss/total"]) and losses["loss/total"] > 0


def test_loader_processes_change_no_number(place):
    typed = ("model=lightweight", "pseudo_label=softmax", "pseudo_label.start_step=1", "aug=multiscale")
    for workers in (0, 2):
        name = f"name=workers-{workers}"
        assert place.train(name, f"trainer.num_workers={workers}", "trainer.max_steps=3", *typed) == 0
    alone, helped = place.run("workers-0"), place.run("workers-2")
    assert alone.metrics() == helped.metrics()
    got, expected = alone.load("final_model.pth"), helped.load("final_model.pth")
    assert all(got[name].equal(expected[name]) for name in expected)


def test_the_demo_command(place):
    """`python train.py`, cut to two steps, a few small scenes, a smaller encoder and no tracker."""
    scenes = ("flights=5", "labeled_flights=2", "val_flights=2", "scene_size=[384,512]", "patch_size=128")
    layout = [f"++data.layout.{setting}" for setting in scenes]
    steps = ("trainer.max_steps=2", "trainer.crop_size=64", "trainer.batch_size=2", "pseudo_label.start_step=1")
    assert place.command("name=demo", "model.encoder=resnet18", "tracking=none", *steps, *layout) == 0
    summary = place.run("demo").summary()
    assert (summary["model"], summary["num_classes"], summary["steps"]) == ("v3", 7, 2)
    assert summary["st_precision"] is not None or summary["st_pixels"] == 0
