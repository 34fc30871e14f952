"""What a run folder says of its run: the summary, held against what it may say, and the config as flat settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

# Settings that do not make two runs of different kinds: who they are, where they log and how they were started; what
# cannot change the scores; the lists of `data` (the fingerprint compares what they chose, wherever they lie); and
# what other settings have taken up (`model.recipe`, and the thresholds and weights that `data` hands on).
IDENTITY = {
    "seed", "name", "experiment_name", "experiment", "tracking", "output", "resume", "reproduce", "trainer.keep_last",
    "trainer.log_every", "trainer.save_every", "trainer.save_latest_every", "trainer.num_workers", "trainer.device",
    "trainer.eval_batch_size", "trainer.channels_last", "data.root", "data.labeled_list", "data.val_list",
    "data.class_mapping", "data.cache_dir", "data.class_thresholds", "data.encoder_weights", "model.name",
    "model.recipe",
}  # fmt: skip
YAML_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every value as the text it is; ten times faster in C

SHARE, SIGNED, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
RANGES = {
    **dict.fromkeys(("best_val_miou", "best_val_miou_all", "final_val_miou", "train_miou"), SHARE),
    **dict.fromkeys(("st_coverage", "st_precision", "stability"), SHARE),
    "gap": SIGNED,
    **dict.fromkeys(("steps", "total_steps", "best_step", "train_seconds", "seconds_per_step"), POSITIVE),
    **dict.fromkeys(("st_pixels", "st_images", "images_per_s", "peak_memory_mib"), POSITIVE),
    **dict.fromkeys(("parameters", "gflops", "latency_ms", "weights_mib"), POSITIVE),
}
LISTS = ("classes", "eval_size", "miou_leaves_out", "findings")
MAPPINGS = ("choices", "class_iou", "colors", "pools")


def read_summary(folder: Path) -> tuple[dict[str, object], str]:
    """summary.json of a run, and what is wrong with it; empty and "" where there is none."""
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except ValueError as error:
        return {}, f"summary.json is damaged or cut off ({error})"
    except OSError as error:
        return {}, f"summary.json cannot be read ({error.strerror})"
    if not isinstance(found, dict):
        return {}, f"summary.json holds {shown(found)} instead of names and values"
    return found, fault(found)


def fault(summary: Mapping[str, object]) -> str:
    """The first value of a summary that cannot be one of a run, in words; "" where all can. Null is always allowed."""
    for key, (low, high) in RANGES.items():
        value = summary.get(key)
        if value is not None and not in_range(value, low, high):
            wanted = f"a number from {low:g} to {high:g}" if high < math.inf else "a number of 0 or more"
            return f"{key} in summary.json is {shown(value)} instead of {wanted}"
    for keys, kind, wanted in ((LISTS, list, "a list"), (MAPPINGS, dict, "names and values")):
        for key in keys:
            if not isinstance(summary.get(key), kind | None):
                return f"{key} in summary.json is {shown(summary[key])} instead of {wanted}"
    ious, colors = summary.get("class_iou"), summary.get("colors")
    for name, value in ious.items() if isinstance(ious, dict) else ():
        if value is not None and not in_range(value, *SHARE):
            return f"class_iou of {name} in summary.json is {shown(value)} instead of a number from 0 to 1"
    for name, value in colors.items() if isinstance(colors, dict) else ():
        if not (isinstance(value, list) and len(value) == 3 and all(in_range(each, 0, 255) for each in value)):
            return f"the color of {name} in summary.json is {shown(value)} instead of three numbers from 0 to 255"
    return ""


def in_range(value: object, low: float, high: float) -> bool:
    """Whether a value is a finite number between two others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high


def shown(value: object) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_config(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The config as dotted names with text values: the settings, and those of IDENTITY. Both are empty where the
    file is missing or damaged."""
    settings: dict[str, str] = {}
    own: dict[str, str] = {}
    for key, text in _flat(_read_yaml(path)):
        (own if _is_identity(key) else settings)[key] = text
    return settings, own


def read_overrides(path: Path) -> dict[str, str]:
    """What was typed to start a run, `optim.lr=0.1` as name and value, without those of IDENTITY."""
    listed = _read_yaml(path)
    pairs = [str(each).lstrip("+~").partition("=") for each in listed] if isinstance(listed, list) else []
    return {key: value for key, _, value in pairs if not _is_identity(key)}


def _read_yaml(path: Path) -> object:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _is_identity(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IDENTITY)


def _flat(node: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, _typed(node)


def _typed(value: object) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return "{}" if value == {} else str(value)
