"""From a composed config to the objects it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch.optim import Optimizer

from semiseg.aug import Augment
from semiseg.config import build, check_arguments, resolved, settings
from semiseg.data.batches import BatchStream
from semiseg.data.build import DataBundle, build_data
from semiseg.data.config import DataConfig
from semiseg.data.frequency import balanced_weights
from semiseg.data.layouts.base import Layout
from semiseg.data.loader import check_pool
from semiseg.data.split import Patches, Pools
from semiseg.data.stream import Pool
from semiseg.engine.device import Hardware
from semiseg.engine.optim import build_optimizer
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.methods import Ema, SemiSupervised
from semiseg.models.base import SegmentationModel
from semiseg.models.pruned import Pruned, check_start
from semiseg.pseudo_label import PseudoLabeler
from semiseg.schema import shown, target_of

NOT_ARGUMENTS = ("name", "recipe")  # of a model node: what its partners and the trainer read


def build_bundle(config: DictConfig) -> DataBundle:
    """The data a config names. Raises ConfigError and DataError."""
    node = {key: value for key, value in resolved(config.data, "data").items() if key != "layout"}
    data = settings(DataConfig, node, "data")
    data.layout = build(config.data.get("layout"), "data.layout", Layout)
    return build_data(data)


def model_node(config: DictConfig) -> dict[str, Any]:
    """The arguments of the network, with the word "none" for no pretrained weights read as null."""
    return _arguments(resolved(config.model, "model"))


def _arguments(node: dict[str, Any]) -> dict[str, Any]:
    """What a model node gives the constructor.

    The node of a network that it is cut from is handed on as it is, to be built for the classes of the data.
    """
    given = {key: value for key, value in node.items() if key not in NOT_ARGUMENTS}
    if isinstance(base := given.get("base"), dict):
        given |= {"base": _restored(_arguments(base)), "_recursive_": False, "_convert_": "all"}
    return {key: None if (key, value) == ("encoder_weights", "none") else value for key, value in given.items()}


def _restored(node: dict[str, Any]) -> dict[str, Any]:
    """The node of a network whose weights are about to be loaded: nothing is read to start it, no run to prune either.

    What follows from a pretrained encoder stays as it was.
    """
    if "run" in node:
        return node | {"run": None}
    frozen = node.get("freeze_bn_affine", False)
    affine = {"freeze_bn_affine": node.get("encoder_weights") is not None} if frozen is None else {}
    return node | affine | {"encoder_weights": None}


def is_restored(config: DictConfig) -> bool:
    """Whether a run starts from weights of its own or of another run's checkpoint."""
    return bool(config.get("resume")) or config.get("restore_from") is not None


def check_model(config: DictConfig) -> None:
    """Raises ConfigError for settings that the network does not take, before the classes of the data are known."""
    node = model_node(config)
    check_arguments(node, "model", ["num_classes"])
    if target_of(node, "model") is Pruned and not is_restored(config):
        check_start(node)
    if not isinstance(name := config.model.get("name"), str) or not name:
        raise ConfigError(f"model.name is {shown(name)}; it must be a word for tables and folders, such as v3.")


def build_model(config: DictConfig, num_classes: int, restored: bool = False) -> SegmentationModel:
    """The network of `config.model`; one whose weights are about to be `restored` needs no pretrained encoder first."""
    node = _restored(model_node(config)) if restored else model_node(config)
    return build(node, "model", SegmentationModel, num_classes=num_classes)


@dataclass(frozen=True)
class Parts:
    """What a config alone decides, built before any data is read, so that a wrong value is found at once."""

    aug: Augment
    loss: SegmentationLoss
    labeler: PseudoLabeler


def build_parts(config: DictConfig, optim: OptimConfig) -> Parts:
    """The parts of a config, with class weights and class thresholds still open. Raises ConfigError."""
    check_model(config)
    labeler = build_labeler(config)
    if labeler.optim is not None:
        discriminator_optim(labeler)
    if labeler.needs_teacher and labeler.teacher == "ema" and optim.ema_decay is None:
        raise ConfigError(
            "pseudo_label.teacher=ema needs an average; set optim.ema_decay=0.999 or pseudo_label.teacher=student."
        )
    aug: Augment = build(config.aug, "aug", Augment)
    return Parts(aug, build(config.loss, "loss", SegmentationLoss), labeler)


def build_labeler(config: DictConfig) -> PseudoLabeler:
    """The pseudo-labeler. Raises ConfigError, in which the settings of a loss are those of its own."""
    try:
        return build(config.pseudo_label, "pseudo_label", PseudoLabeler)
    except ConfigError as error:
        raise ConfigError(re.sub(r"(?<![\w.])loss(?=\.\w| has)", "pseudo_label.st_loss", str(error))) from error


def discriminator_optim(labeler: PseudoLabeler) -> OptimConfig:
    """The discriminator's optimiser. Raises ConfigError for what only a segmentation network has."""
    given = labeler.optim or {}
    for key in ("ema_decay", "head_lr_mult", "head_bias_lr_mult"):
        if key in given:
            raise ConfigError(f"pseudo_label.optim.{key} does nothing, a discriminator has no such part: leave it out.")
    return settings(OptimConfig, given, "pseudo_label.optim")


def check_batches(method: SemiSupervised, trainer: TrainerConfig, pools: Pools) -> None:
    """At once, and not when the first batch comes, or the first unlabelled one.

    Raises ConfigError for batches too small to train on, and DataError for pools that do not fill one.
    """
    wanted: list[tuple[Pool, Patches, int]] = [("labeled", pools.train, trainer.batch_size)]
    if method.labeler.needs_unlabeled:
        wanted.append(("unlabeled", pools.unlabeled, trainer.unlabeled_batch_size))
    for pool, patches, batch_size in wanted:
        method.student.check_batch(batch_size)
        check_pool(pool, len(patches), batch_size, method.student.smallest_batch)


def fit_to_data(parts: Parts, bundle: DataBundle, total_steps: int) -> None:
    """Resolve `class_weights: balanced` over the labelled training masks, and lay out the thresholds by class.

    Raises ConfigError for thresholds or weights that do not fit the classes.
    """
    parts.labeler.prepare(bundle.classes.num_classes, bundle.classes.names, total_steps)
    for setting, loss in (("loss", parts.loss), ("pseudo_label.st_loss", parts.labeler.st_loss)):
        if loss is None:
            continue
        loss.check_classes(bundle.classes.num_classes, setting)
        if loss.needs_class_weights:
            loss.set_class_weights(torch.from_numpy(balanced_weights(bundle.counts())))


def build_method(
    config: DictConfig, parts: Parts, bundle: DataBundle, optim: OptimConfig, total_steps: int
) -> SemiSupervised:
    """Student, loss, pseudo-labeler and average, on the CPU."""
    # First, before a discriminator draws random weights: runs of one seed start from one student, whatever labels it.
    student = build_model(config, bundle.classes.num_classes, is_restored(config))
    fit_to_data(parts, bundle, total_steps)
    loss, labeler = parts.loss, parts.labeler
    ema = None if optim.ema_decay is None else Ema(student, optim.ema_decay)
    return SemiSupervised(student, loss, labeler, bundle.classes.num_classes, ema)


def build_optimizers(method: SemiSupervised, optim: OptimConfig) -> tuple[dict[str, Optimizer], dict[str, OptimConfig]]:
    """The student's optimiser, and the discriminator's where the pseudo-labeler brings one."""
    configs = {"student": optim}
    optimizers = {"student": build_optimizer(method.student.parameter_roles(), optim)}
    discriminator = method.discriminator
    if discriminator is not None:
        configs["discriminator"] = discriminator_optim(method.labeler)
        optimizers["discriminator"] = build_optimizer(
            {"encoder": list(discriminator.parameters())}, configs["discriminator"]
        )
    return optimizers, configs


def build_stream(
    bundle: DataBundle,
    aug: Augment,
    trainer: TrainerConfig,
    labeler: PseudoLabeler,
    hardware: Hardware,
    seed: int,
    start: Mapping[Pool, int],
) -> BatchStream:
    """The batches from `start` on; pools that the pseudo-labeler does not read are not loaded."""
    return BatchStream(
        bundle,
        aug,
        crop_size=trainer.crop_size,
        batch_size=trainer.batch_size,
        unlabeled_batch_size=trainer.unlabeled_batch_size,
        seed=seed,
        device=hardware.device,
        num_workers=hardware.num_workers,
        channels_last=trainer.channels_last,
        needs_unlabeled=labeler.needs_unlabeled,
        needs_real=labeler.needs_real,
        start=start,
    )
