"""`train.py reproduce=RUN`: a finished run trained again from its stored config."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.config import near, resolved
from semiseg.differences import environment_differences, metric_differences, score_differences, verdict
from semiseg.errors import ConfigError
from semiseg.files import read_json
from semiseg.overrides import hydra_form, key_of, without_config_dirs
from semiseg.stored import check_targets

GROUPS = ("model", "data", "trainer", "loss", "pseudo_label", "aug", "optim", "tracking")
NEW_RUN = ("reproduce", "resume", "name", "experiment_name", "output")  # what the new run does not take from the old
RUNS = ("pseudo_label.teacher_run", "model.run")  # that a run was made from
FREE_KEYS = (*NEW_RUN, "tracking", "data.root", *RUNS)  # paths: they may have moved


class Original:
    """The run that is trained again."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a folder that holds no stored training, or one that names what is not to be built."""
        self.path = path
        self.config = stored_config(path)
        check_targets(resolved(self.config, ""), path / ".hydra" / "config.yaml")
        self.summary = stored_summary(path)

    @classmethod
    def of(cls, config: DictConfig) -> Original | None:
        """The run that `reproduce` names; None for a training of its own."""
        return None if config.reproduce is None else cls(Path(config.reproduce).expanduser())

    @property
    def choices(self) -> dict[str, Any]:
        """The words of its groups; none where it has no summary."""
        return dict(self.summary.get("choices") or {})

    def config_for(self, typed: DictConfig, overrides: Collection[str]) -> DictConfig:
        """Its config with the place of the new run, and with the tracking and the paths that the overrides give."""
        keys = [key_of(each) for each in overrides]
        config, before = self.config.copy(), self.config.get("output")
        for key in (each for each in typed if not OmegaConf.is_dict(typed[each])):
            if key in NEW_RUN or key not in config:
                config[key] = typed[key]
        if any(key.partition(".")[0] == "tracking" for key in keys):
            config.tracking = OmegaConf.create(OmegaConf.to_container(typed.tracking, resolve=True))
        elif config.tracking.get("root") == before and before is not None:
            config.tracking.root = typed.output
        if "data.root" in keys:
            config.data = moved(config.data, str(typed.data.root))
        for key in (each for each in RUNS if each in keys):
            OmegaConf.update(config, key, str(OmegaConf.select(typed, key)))
        OmegaConf.set_struct(config, True)
        return config

    def check_data(self, fingerprint: str, root: str | None) -> None:
        """Raises ConfigError when the data is not that of the run: its figures could not be met."""
        before = self.summary.get("data_fingerprint")
        if before is not None and before != fingerprint:
            raise ConfigError(
                f"reproduce={self.path}: the data in {root} is no longer that of the run (fingerprint {fingerprint}, "
                f"was {before}): images, masks or lists were added or removed. Give the old data with data.root=PATH."
            )

    def compare(self, folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
        """The entry `reproduction` of the new run's summary.json: figures then and now, and what explains them."""
        scores = score_differences(self.summary, summary)
        metrics, steps = metric_differences(self.path, folder)
        return {
            "of": str(self.path),
            "verdict": verdict(scores, metrics, steps),
            "scores": scores,
            "steps_compared": steps,
            "metrics": metrics,
            "environment": environment_differences(self.summary, summary),
            "deterministic": bool(self.config.trainer.get("deterministic")),
        }


def with_original(overrides: list[str]) -> list[str]:
    """On `reproduce=RUN`, the overrides typed and those that give the new run a place of its own beside RUN.

    Raises ConfigError when there is no such run, and for an override that would make it another one.
    """
    typed = {key_of(each): each.partition("=")[2].strip("'\"") for each in overrides}
    if typed.get("reproduce", "null") == "null":
        return overrides
    if not typed["reproduce"]:
        raise ConfigError("reproduce= is empty: give the folder of a run, such as reproduce=runs/semiseg/NAME.")
    path = Path(typed["reproduce"]).expanduser()
    if others := [each for each in without_config_dirs(overrides) if not is_free(key_of(each))]:
        raise ConfigError(
            f"reproduce={path} trains that run again as it was: leave out {' '.join(others)}. Only name=, "
            "experiment_name=, output=, tracking=, data.root=, pseudo_label.teacher_run= and model.run= go with it."
        )
    # The config that is composed beside the stored one need not know these.
    overrides = [f"++{each.lstrip('+')}" if key_of(each) in RUNS else each for each in overrides]
    stored = stored_config(path)
    word = re.sub(r"[^\w.-]", "_", path.resolve().name, flags=re.ASCII)
    place = {"name": f"${{run_name:{word}-again}}"}
    place |= {key: str(stored[key]) for key in ("experiment_name", "output") if stored.get(key) is not None}
    return overrides + [hydra_form(key, value) for key, value in place.items() if key not in typed]


def is_free(key: str) -> bool:
    """Whether a setting may differ from that of the original."""
    return key in FREE_KEYS or key.startswith("tracking.")


def stored_config(path: Path) -> DictConfig:
    """`.hydra/config.yaml` of a run. Raises ConfigError where there is none that describes a training."""
    if not path.is_dir():
        there = sorted(file.parents[1].name for file in path.parent.glob("*/.hydra/config.yaml"))
        hint = near(path.name, there) if there else "Give the folder of a run, such as runs/semiseg/NAME."
        raise ConfigError(f"reproduce={path}: there is no such folder. {hint}")
    file = path / ".hydra" / "config.yaml"
    try:
        config = OmegaConf.load(file)
    except FileNotFoundError:
        raise ConfigError(f"reproduce={path}: the folder holds no .hydra/config.yaml, so it is no run.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file} cannot be read ({str(error).splitlines()[0]}): nothing to reproduce.") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{file} is not the config of a training: it is a list.")
    if lacks := [group for group in GROUPS if not OmegaConf.is_dict(config.get(group))]:
        raise ConfigError(f"{file} is not the config of a training: it lacks {', '.join(lacks)}.")
    return config


def stored_summary(path: Path) -> dict[str, Any]:
    """summary.json of a run; empty where it did not get that far."""
    return read_json(path / "summary.json")


def moved(data: DictConfig, root: str) -> DictConfig:
    """The data settings with another root, and with it the lists and mappings that lay below the old one."""
    old = Path(str(data.root))
    plain: dict[str, Any] = OmegaConf.to_container(data)  # type: ignore[assignment]
    for key in ("class_mapping", "labeled_list", "val_list"):
        if plain.get(key) is not None and Path(plain[key]).is_relative_to(old):
            plain[key] = (Path(root) / Path(plain[key]).relative_to(old)).as_posix()
    return OmegaConf.create(plain | {"root": root})
