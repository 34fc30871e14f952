"""`train.py reproduce=RUN`: a finished run trained again from its stored config, and what came out differently."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.config import near, resolved
from semiseg.errors import ConfigError
from semiseg.overrides import hydra_form, key_of, without_config_dirs
from semiseg.stored import check_targets
from semiseg.tracking.local import read_metrics

GROUPS = ("model", "data", "trainer", "loss", "pseudo_label", "aug", "optim", "tracking")
NEW_RUN = ("reproduce", "resume", "name", "experiment_name", "output")  # what the new run does not take from the old
FREE_KEYS = (*NEW_RUN, "tracking", "data.root", "pseudo_label.teacher_run", "model.run")  # paths: they may have moved
SCORES = {"best_val_miou": "best val mIoU", "final_val_miou": "final val mIoU"}
ENVIRONMENT = ("git_commit", "versions", "hardware", "data_fingerprint")
CLOSE = 0.01  # of val mIoU: about what two seeds of one recipe differ by


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
        """Its config with the place of the new run, and with the tracking and data root that the overrides give."""
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
            "experiment_name=, output=, tracking= and data.root= go with it."
        )
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
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def moved(data: DictConfig, root: str) -> DictConfig:
    """The data settings with another root, and with it the lists and mappings that lay below the old one."""
    old = Path(str(data.root))
    plain: dict[str, Any] = OmegaConf.to_container(data)  # type: ignore[assignment]
    for key in ("class_mapping", "labeled_list", "val_list"):
        if plain.get(key) is not None and Path(plain[key]).is_relative_to(old):
            plain[key] = (Path(root) / Path(plain[key]).relative_to(old)).as_posix()
    return OmegaConf.create(plain | {"root": root})


def score_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Score -> then, now and their absolute difference; a difference of None where one run lacks the score."""
    pairs = {label: (then.get(key), now.get(key)) for key, label in SCORES.items()}
    classes = (then.get("class_iou") or {}, now.get("class_iou") or {})
    pairs |= {f"IoU {name}": (classes[0].get(name), classes[1].get(name)) for name in {**classes[0], **classes[1]}}
    return {label: {"then": a, "now": b, "difference": difference(a, b)} for label, (a, b) in pairs.items()}


def difference(then: float | None, now: float | None) -> float | None:
    """Absolute difference; 0 where neither run has the value (or both have NaN), None where one of them lacks it."""
    lacking = [value is None or math.isnan(value) for value in (then, now)]
    if any(lacking):
        return 0.0 if all(lacking) else None
    return abs(then - now)  # type: ignore[operator]


def metric_differences(then: Path, now: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Of the metrics logged at the steps of both runs those that differ: largest difference and first step with one.

    Beside it the number of steps that were compared. A loss that does not differ is listed too, with 0.
    """
    before, after = metrics_by_step(then), metrics_by_step(now)
    found: dict[str, dict[str, Any]] = {}
    shared = sorted(before.keys() & after.keys())
    for step in shared:
        for name in {**before[step], **after[step]}:
            size = difference(before[step].get(name), after[step].get(name))
            if size != 0 or name.startswith("loss/"):
                entry = found.setdefault(name, {"largest_difference": 0.0, "first_step": None})
                widen(entry, size, step)
    return found, len(shared)


def widen(entry: dict[str, Any], size: float | None, step: int) -> None:
    """Take one more difference into an entry; None, a value that one run lacks, is larger than every other."""
    if size == 0:
        return
    entry["first_step"] = step if entry["first_step"] is None else entry["first_step"]
    largest = entry["largest_difference"]
    entry["largest_difference"] = None if size is None or largest is None else max(largest, size)


def metrics_by_step(run: Path) -> dict[int, dict[str, float]]:
    """What a run logged, without the time and the memory that equal runs differ in."""
    volatile = {"step", "time", "images_per_s", "seconds_per_step", "peak_memory_mib"}
    steps: dict[int, dict[str, float]] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        values = {name: value for name, value in record.items() if name not in volatile}
        steps.setdefault(int(record["step"]), {}).update(values)
    return steps


def environment_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What explains a difference: name -> [then, now] of commit, versions, hardware and data."""
    pairs: dict[str, list[Any]] = {}
    for key in ENVIRONMENT:
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            pairs |= {name: [before.get(name), after.get(name)] for name in {**before, **after}}
        else:
            pairs[key] = [before, after]
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def verdict(scores: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Mapping[str, Any]], steps: int) -> str:
    """identical, within X, or different.

    X is the largest difference of the scores, or where those are equal, of the logged metrics. Different is a val mIoU
    that is off by more than `CLOSE`, and a run of which nothing can be compared.
    """
    of_scores = [row["difference"] for row in scores.values()]
    of_metrics = [row["largest_difference"] for row in metrics.values()]
    headline = [scores[label]["difference"] for label in SCORES.values()]
    if steps == 0 or any(size is None or size > CLOSE for size in headline) or None in of_scores:
        return "different"
    largest = max(of_scores, default=0.0) or max((size for size in of_metrics if size is not None), default=0.0)
    if largest == 0.0:
        return "different" if None in of_metrics else "identical"
    return f"within {rounded_up(largest)}"


def rounded_up(value: float) -> str:
    """Two digits, never less than the value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit - 1e-9) * unit:.2g}"


def reproduction_rows(reproduction: Mapping[str, Any] | None) -> dict[str, str]:
    """What the table at the end says of the reproduction, label -> text; nothing for a run of its own."""
    if reproduction is None:
        return {}
    found = {"Reproduction": f"{reproduction['verdict']} (of {reproduction['of']})"}
    for label, row in reproduction["scores"].items():
        found[f"  {label}"] = f"{shown(row['now'])}, was {shown(row['then'])}: {apart(row['difference'])}"
    for name, row in reproduction["metrics"].items():
        if name.startswith("loss/"):
            since = "" if row["first_step"] is None else f", first at step {row['first_step']}"
            found[f"  {name}"] = f"{apart(row['largest_difference'])}{since}"
    found["  Steps compared"] = str(reproduction["steps_compared"])
    for name, (then, now) in reproduction["environment"].items():
        found[f"  {name}"] = f"{now}, was {then}"
    if reproduction["verdict"] != "identical" and not reproduction["deterministic"]:
        found["  Note"] = "trainer.deterministic=false: a GPU sums in another order each time"
    return found


def shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


def apart(size: float | None) -> str:
    """A difference in words."""
    if size is None:
        return "only one run has it"
    return "identical" if size == 0 else f"off by up to {rounded_up(size)}"
