"""The words for sweeps, and the ladder that leads from V1 to V3."""

from __future__ import annotations

from contextlib import nullcontext
from fnmatch import fnmatch

import pytest
from hydra import compose
from omegaconf import OmegaConf

from semiseg.cli import register_resolvers
from semiseg.config import build, conf_dir, flatten, plain
from semiseg.errors import ConfigError
from semiseg.overrides import words
from semiseg.sweep.grid import combinations

RUNGS = {  # what each may change of the rung before, besides the name
    "0_v1": [],
    "1_architecture": ["model.*"],
    "2_pseudo_label": ["pseudo_label.*"],
    "3_loss": ["loss.*"],
    "4_heads": ["model.num_heads"],
    "5_class_thresholds": ["pseudo_label.class_thresholds", "pseudo_label.class_thresholds.*"],
    "6_multi_scale": ["aug.*"],
    "7_ema": ["model.recipe.ema_decay", "optim.ema_decay"],
    "8_schedule": [
        "optim.schedule", "optim.warmup_steps", "optim.grad_clip",
        "model.recipe.early_stop_patience", "trainer.early_stop_patience",
    ],
}  # fmt: skip
DATA = {
    "demo": ["data=demo"],
    "dubai": ["data=dubai"],
    "salak": ["data=salak", "data.root=x"],
    "voc": ["data=voc", "data.root=x"],
}
MISSING = object()


def cells(composed, *overrides: str) -> dict:
    """Every cell of a composed config but the name of the run and of the system."""
    found = flatten(plain(composed(*overrides, "name=same")))
    found.pop("model.name")
    return found


@pytest.fixture(params=DATA, scope="module")
def ladder(request: pytest.FixtureRequest, composed) -> tuple[list[str], list[dict]]:
    """A data set, and the cells of all rungs on it."""
    data = DATA[request.param]
    return data, [cells(composed, *data, f"experiment=ladder/{rung}") for rung in RUNGS]


def test_the_rungs_are_all_files_of_the_ladder_in_order() -> None:
    assert words("experiment/ladder") == list(RUNGS)


def test_the_ladder_begins_at_v1_and_ends_at_v3(composed, ladder) -> None:
    data, rungs = ladder
    assert rungs[0] == cells(composed, *data, "model=v1")
    assert rungs[-1] == cells(composed, *data, "model=v3")
    assert composed(*data, "experiment=ladder/0_v1").model.name == "v1"
    assert composed(*data, "experiment=ladder/8_schedule").model.name == "v3"


def test_a_rung_changes_what_its_name_says_and_nothing_else(ladder) -> None:
    data, rungs = ladder
    for (rung, allowed), before, after in zip(list(RUNGS.items())[1:], rungs, rungs[1:], strict=False):
        keys = before.keys() | after.keys()
        changed = {key for key in keys if before.get(key, MISSING) != after.get(key, MISSING)}
        # Thresholds of classes that the data set does not have, and the schedule that data=demo brings itself.
        idle = (rung == "5_class_thresholds" and data[0] == "data=voc") or (
            rung == "8_schedule" and data[0] == "data=demo"
        )
        assert idle or changed, rung
        assert not [key for key in changed if not any(fnmatch(key, pattern) for pattern in allowed)], rung


def test_rungs_have_names_of_their_own(composed) -> None:
    names = [composed(f"experiment=ladder/{rung}").model.name for rung in RUNGS]
    assert names == ["v1", *(f"ladder_{rung}" for rung in list(RUNGS)[1:-1]), "v3"]


def test_a_rung_takes_typed_values(composed) -> None:
    config = composed("data=dubai", "experiment=ladder/4_heads", "optim.lr=0.5", "loss=ce", "trainer.max_steps=7")
    assert (config.optim.lr, config.loss.dice_weight, config.trainer.max_steps) == (0.5, 0.0, 7)


@pytest.mark.parametrize("word", words("sweep"))
@pytest.mark.parametrize("data", ["dubai", "voc"])
def test_the_jobs_of_a_sweep_compose(composed, word: str, data: str) -> None:
    register_resolvers()
    sweeper = compose("train", overrides=[f"+sweep={word}"], return_hydra_config=True).hydra.sweeper
    settings = OmegaConf.to_container(sweeper, resolve=False)
    params = {
        key: "0.5" if "interval" in str(value) else "32" if "range" in str(value) else value
        for key, value in settings["params"].items()
    }
    jobs = combinations(params, settings["alternatives"], DATA[data])
    assert len(jobs) == {"seeds": 3, "ladder": 9, "thresholds": 7}.get(word, 1)
    for job in jobs:
        nothing_to_shift = data == "voc" and "${shifted" in str(job.overrides)  # it has no thresholds of classes
        with pytest.raises(ConfigError, match="no thresholds of classes") if nothing_to_shift else nullcontext():
            build(composed(*job.overrides).pseudo_label, "pseudo_label")


def test_class_thresholds_are_shifted_in_the_sweep(composed) -> None:
    register_resolvers()
    config = composed("data=dubai", "pseudo_label=softmax", "pseudo_label.class_thresholds=${shifted:-0.1}")
    assert config.pseudo_label.class_thresholds["road"] == 0.6


@pytest.mark.parametrize("file", sorted((conf_dir() / "sweep").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_sweep_file_begins_with_what_it_is_and_its_command(file) -> None:
    first, *rest = file.read_text(encoding="utf-8").splitlines()
    assert first == "# @package _global_"
    assert rest[0].startswith("# ") and rest[0].endswith((".", "set."))
    assert rest[1] in (
        f"#   python train.py -m +sweep={file.stem}",
        f"#   python train.py -m +sweep={file.stem} model=v3",
    )
