"""What an exported file says about itself: enough to predict, to draw and to be evaluated without its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semiseg.data.batches import IMAGENET_MEAN, IMAGENET_STD
from semiseg.data.classes import ClassMap
from semiseg.errors import CheckpointError, ConfigError
from semiseg.files import json_ready
from semiseg.prediction.record import fingerprint
from semiseg.stored import check_targets
from semiseg.trained import Trained

FORMAT = "1"
MARK = "semiseg_format"  # the key by which a file of ours is known


@dataclass(frozen=True)
class Metadata:
    """What is read back from a file."""

    classes: ClassMap
    model: str
    run: str
    precision: str  # fp32 or int8
    config: DictConfig  # data, model name and pseudo-labeler of the run
    summary: Mapping[str, Any]  # commit and data fingerprint of the run, score of the weights if these are its best
    weights: str | None  # fingerprint of the weights file; None in files of older versions


def metadata_of(trained: Trained, precision: str) -> dict[str, str]:
    """The metadata of a file, key -> text; all but the plain names are JSON."""
    config, summary = trained.config, trained.summary
    kept = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("data", "pseudo_label") if key in config}
    trainer = {"eval_batch_size": config.trainer.eval_batch_size, "precision": "fp32"}
    values = {
        "classes": trained.classes.names,
        "colors": trained.classes.colors,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "best_val_miou": summary.get("best_val_miou"),
        "config": {**kept, "model": {"name": config.model.name}, "trainer": trainer},
    }
    return {
        MARK: FORMAT,
        "model": str(config.model.name),
        "run": trained.folder.name,
        "weights": fingerprint(trained.weights),
        "precision": precision,
        "input": "uint8 RGB [batch, 3, height, width]; scaling by mean and std is part of the graph",
        "output": "float32 class probabilities [batch, classes, height, width]",
        "git_commit": str(summary.get("git_commit") or ""),
        "data_fingerprint": str(summary.get("data_fingerprint") or ""),
        **{key: json.dumps(json_ready(value), ensure_ascii=False) for key, value in values.items()},
    }


def parse_metadata(path: Path, found: Mapping[str, str]) -> Metadata:
    """The metadata of the file `path`.

    Raises ConfigError where they are not ours, and CheckpointError where they are damaged.
    """
    if MARK not in found:
        raise ConfigError(
            f"{path} was not written by semiseg export: it does not say what its classes are. Export it from its run: "
            "semiseg export run=RUN out=FOLDER"
        )
    if found[MARK] != FORMAT:
        raise ConfigError(f"{path} has metadata of format {found[MARK]}, this version reads {FORMAT}. Export it again.")
    try:
        names, colors = json.loads(found["classes"]), json.loads(found["colors"])
        classes = ClassMap(tuple(names), tuple((int(red), int(green), int(blue)) for red, green, blue in colors))
        settings = json.loads(found["config"])
        config = OmegaConf.create(settings)
        summary = {key: found[key] for key in ("git_commit", "data_fingerprint")}
        summary["best_val_miou"] = json.loads(found["best_val_miou"])
        if len(names) != len(colors) or not isinstance(config, DictConfig):
            raise ValueError("classes and colours do not fit")
        check_targets(settings, path)
        return Metadata(
            classes, found["model"], found["run"], found["precision"], config, summary, found.get("weights")
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has damaged metadata ({error}). Export it again.") from error
