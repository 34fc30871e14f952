"""What a remedy tells a reader to type exists for that system, takes effect and builds."""

from __future__ import annotations

import shlex

import pytest
from omegaconf import OmegaConf

from semiseg.builder import build_parts
from semiseg.config import flatten, plain, settings
from semiseg.doctor import remedies
from semiseg.doctor.case import Case
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.report.history import series

SALAK = ("background", "Badan Air", "Bangunan", "Jalan", "Pohon Berinang", "Snake Fruit", "Tanah Terbuka")
DUBAI = ("building", "land_unpaved", "road", "vegetation", "water")
SYSTEMS = {
    "v1": (["model=v1", "data=salak", "data.root=x"], SALAK),
    "v2": (["model=v2", "data=salak", "data.root=x"], SALAK),
    "v3": (["model=v3", "data=salak", "data.root=x"], SALAK),
    "v3 on dubai": (["model=v3", "data=dubai"], DUBAI),
    "v3, one threshold, demo": (["model=v3", "pseudo_label=softmax_global"], SALAK),
    "lightweight": (["model=lightweight", "data=salak", "data.root=x"], SALAK),
    "lightweight_original": (["model=lightweight_original", "data=dubai"], DUBAI),
}
ALWAYS = (
    remedies.generalise, remedies.learn_better, remedies.larger_batch, remedies.slower, remedies.slower_and_clipped,
    remedies.steadier, remedies.learn_more, remedies.more_patience, lambda _: remedies.DICE_FIRST,
    lambda case: remedies.find_classes(case, case.classes[-2:], self_trained=True),
)  # fmt: skip
SELF_TRAINED = (remedies.more_pseudo_labels, remedies.surer_pseudo_labels, remedies.wider_sizes)
ADVERSARIAL = (remedies.weaker_discriminator, remedies.stronger_discriminator)


def case_of(config, names) -> Case:
    return Case({}, {"classes": list(names)}, flatten(plain(config)))


def typed(remedy: str) -> list[str]:
    return shlex.split(remedy)


def remedies_for(case: Case) -> set[str]:
    """All that may be said of a run of this kind."""
    labeler = case.labeler
    wanted = (*ALWAYS, *(SELF_TRAINED if labeler != "none" else ()), *(ADVERSARIAL if "disc" in labeler else ()))
    return {remedy(case) for remedy in wanted}


@pytest.mark.parametrize("system", SYSTEMS)
def test_remedies_compose_take_effect_and_build(composed, system: str) -> None:
    base, names = SYSTEMS[system]
    before = composed(*base)
    known = case_of(before, names)
    logged = {"discriminator": ["loss/discriminator"], "softmax": ["st/pixels"], "none": []}[known.labeler]
    facts = {"model": before.model.name, "classes": list(names)}
    unknown = Case({name: series([1], [1.0]) for name in logged}, facts)  # a run of an older version, by what it logged
    assert unknown.labeler == known.labeler
    for remedy in sorted(remedies_for(known) | remedies_for(unknown)):
        config = composed(*base, *typed(remedy))
        for override in typed(remedy):
            key, _, value = override.partition("=")
            if "." in key:
                assert OmegaConf.select(config, key) == yaml(value), remedy
        settings(TrainerConfig, config.trainer, "trainer")
        parts = build_parts(config, settings(OptimConfig, config.optim, "optim"))
        parts.labeler.prepare(len(names), names, 100)
        assert config != before or remedy not in remedies_for(known), remedy


def yaml(value: str) -> object:
    return OmegaConf.to_container(OmegaConf.create(f"v: {value}"))["v"]  # type: ignore[index, call-overload]


def test_thresholds_are_lowered_and_raised_from_those_of_the_run(composed) -> None:
    case = case_of(composed(*SYSTEMS["v3"][0]), SALAK)
    lower = "pseudo_label.class_thresholds=[null,0.5,0.55,0.6,0.55,0.45,0.5]"  # the guide's, and V3.1's
    assert typed(remedies.more_pseudo_labels(case)) == [lower]
    higher = "pseudo_label.class_thresholds=[null,0.7,0.75,0.8,0.75,0.65,0.7]"
    assert typed(remedies.surer_pseudo_labels(case)) == [higher]
    rare = "pseudo_label.class_thresholds=[null,0.6,0.65,0.45,0.65,0.55,0.6]"
    assert typed(remedies.find_classes(case, ["Jalan"], self_trained=True)) == [rare]
    assert (
        remedies.find_classes(case, ["background"], self_trained=True) != rare
    )  # never a pseudo label: no threshold to lower


def test_a_distillation_keeps_its_teacher() -> None:
    settings = {"pseudo_label._target_": "semiseg.pseudo_label.Distillation", "pseudo_label.threshold": 0.65}
    one = Case({}, {}, settings | {"pseudo_label.class_thresholds": None})
    assert remedies.more_pseudo_labels(one) == "pseudo_label.threshold=0.55"
    unread = Case({}, {}, settings | {"pseudo_label.class_thresholds.palm": 0.5})
    assert remedies.more_pseudo_labels(unread).startswith("pseudo_label.class_thresholds=null pseudo_label.threshold=")
    on_labels_alone = Case({"st/pixels": series([1], [1.0])}, {}, settings | {"pseudo_label.unlabeled": False})
    assert on_labels_alone.labeler == "none" and one.labeler == "softmax"


def test_thresholds_of_the_discriminator_are_the_s4gan_guides() -> None:
    s4gan = {"pseudo_label._target_": "x.DiscriminatorGate"}
    for now, lower, higher in ((0.2, "0.1", "0.3"), (0.1, "0.05", "0.3"), (0.5, "0.1", "0.75")):
        case = Case({}, {}, s4gan | {"pseudo_label.threshold": now})
        assert remedies.more_pseudo_labels(case) == f"pseudo_label.threshold={lower}"
        assert remedies.surer_pseudo_labels(case) == f"pseudo_label.threshold={higher}"


def test_thresholds_that_are_not_known_give_way_to_one_for_all_classes() -> None:
    case = Case({"st/pixels": series([1], [1.0])})
    assert remedies.more_pseudo_labels(case) == "pseudo_label=softmax_global pseudo_label.threshold=0.5"
    assert remedies.find_classes(case, ["palm"], self_trained=True) == remedies.more_pseudo_labels(case)
    one = Case({}, {}, {"pseudo_label.class_thresholds": None, "pseudo_label.threshold": 0.65, "pseudo_label.x": 1})
    assert remedies.more_pseudo_labels(one).endswith("pseudo_label.threshold=0.55")


def test_without_thresholds_a_lost_class_gets_weight_in_the_loss() -> None:
    assert remedies.find_classes(Case({}), ["palm"], self_trained=True) == "loss.class_weights=balanced"
    assert (
        remedies.find_classes(Case({}, {}, {"loss.class_weights": "balanced"}), ["palm"], self_trained=True)
        == remedies.DICE_FIRST
    )


def test_numbers_start_from_those_of_the_run() -> None:
    case = Case(
        {}, {}, {"trainer.crop_size": 96, "optim.lr": "1e-3", "trainer.batch_size": 4, "trainer.max_steps": 100}
    )
    assert remedies.wider_sizes(case) == "aug=multiscale aug.size_min=80 aug.size_max=160"
    assert remedies.wider_sizes(Case({})) == "aug=multiscale aug.size_min=224 aug.size_max=448"  # the guide's
    assert remedies.slower(case) == "optim.lr=0.0005"
    assert remedies.larger_batch(case) == "trainer.batch_size=8"
    assert remedies.learn_more(case) == "trainer.max_steps=200"
    assert remedies.setting("trainer.max_steps", 246_914.0) == "trainer.max_steps=246914"


def test_an_average_of_the_weights_steadies_a_run_that_has_none() -> None:
    assert remedies.steadier(Case({}, {}, {"optim.ema_decay": None})) == "optim.ema_decay=0.999"
    assert remedies.steadier(Case({}, {}, {"optim.ema_decay": 0.9995, "optim.lr": 2.5e-4})) == "optim.lr=0.000125"
