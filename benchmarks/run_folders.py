"""Believable run folders without a training: what reports are tested with and timed on.

Every number follows from the model, the seed and the data, so that the same call writes the same folder.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Classes = Mapping[str, tuple[int, int, int]]

CLASSES: Classes = {
    "background": (0, 0, 0), "Badan Air": (0, 0, 255), "Bangunan": (255, 0, 0), "Jalan": (128, 128, 128),
    "Snake Fruit": (128, 255, 0),
}  # fmt: skip
PATCH, EXAMPLE = 64, 48  # sides of a validation patch and of an example, in pixels
EXAMPLES = 6

MODELS: dict[str, dict[str, Any]] = {
    "v1": {
        "words": {"loss": "ce", "pseudo_label": "discriminator", "aug": "none", "optim": "sgd_polynomial"},
        "parameters": 44_048_532, "gflops": 58.6, "images_per_s": 3.1,
        "model": {"_target_": "semiseg.models.DeepLabV2", "encoder": "resnet101", "output_stride": 8},
        "pseudo_label": {"_target_": "semiseg.pseudo_label.DiscriminatorGate", "threshold": 0.2, "start_step": 20},
        "loss": {"_target_": "semiseg.losses.SegmentationLoss", "ce_weight": 1.0, "dice_weight": 0.0},
        "optim": {"optimizer": "sgd", "lr": 0.00025, "schedule": "polynomial", "ema_decay": None},
    },
    "v2": {
        "words": {"loss": "ce", "pseudo_label": "discriminator_scheduled", "aug": "none", "optim": "sgd_cosine"},
        "parameters": 44_048_532, "gflops": 58.6, "images_per_s": 3.0,
        "model": {"_target_": "semiseg.models.DeepLabV2", "encoder": "resnet101", "output_stride": 8},
        "pseudo_label": {"_target_": "semiseg.pseudo_label.DiscriminatorGate", "threshold": 0.2, "start_step": 10},
        "loss": {"_target_": "semiseg.losses.SegmentationLoss", "ce_weight": 1.0, "dice_weight": 0.0},
        "optim": {"optimizer": "sgd", "lr": 0.00025, "schedule": "cosine", "ema_decay": 0.999},
    },
    "v3": {
        "words": {"loss": "combined", "pseudo_label": "softmax", "aug": "multiscale", "optim": "sgd_cosine"},
        "parameters": 26_682_725, "gflops": 9.2, "images_per_s": 6.4,
        "model": {"_target_": "semiseg.models.MultiHeadDeepLabV3Plus", "encoder": "resnet50", "num_heads": 3},
        "pseudo_label": {"_target_": "semiseg.pseudo_label.SoftmaxThreshold", "threshold": 0.65, "start_step": 10},
        "loss": {"_target_": "semiseg.losses.SegmentationLoss", "ce_weight": 0.4, "dice_weight": 0.4},
        "optim": {"optimizer": "sgd", "lr": 0.00025, "schedule": "cosine", "ema_decay": 0.9995},
    },
    "lightweight": {
        "words": {"loss": "focal", "pseudo_label": "none", "aug": "enhanced", "optim": "adamw"},
        "parameters": 2_516_853, "gflops": 1.1, "images_per_s": 21.0,
        "model": {"_target_": "semiseg.models.LightweightDSConv", "aspp_channels": 128, "decoder_channels": 128},
        "pseudo_label": {"_target_": "semiseg.pseudo_label.NoPseudoLabels", "start_step": 0, "weight": 0.0},
        "loss": {"_target_": "semiseg.losses.SegmentationLoss", "ce_weight": 0.0, "focal_weight": 1.0},
        "optim": {"optimizer": "adamw", "lr": 0.0001, "schedule": "cosine", "ema_decay": None},
    },
}  # fmt: skip


def make_run(
    folder: Path,
    *,
    model: str = "v3",
    seed: int = 0,
    miou: float = 0.5,
    steps: int = 100,
    evaluations: int = 4,
    classes: Classes | None = None,
    overrides: Mapping[str, object] | None = None,
    summary: Mapping[str, object] | None = None,
    fingerprint: str = "data0",
    patches: int = 12,
) -> Path:
    """Write every file of a finished run but its checkpoints, and return `folder`.

    `overrides` take dotted config keys (`optim.lr`) and the words of groups (`pseudo_label="none"`); `summary` replaces
    keys of summary.json. `miou` is about the best validation mIoU: `confusion_best.npz`, which has it exactly, decides.
    """
    classes = CLASSES if classes is None else classes
    config, words = recipe(model, seed, steps, overrides or {})
    # One stream a (recipe, seed, data): what a run draws does not change with the runs written before it.
    rng = np.random.default_rng(
        zlib.crc32(repr((words, sorted((overrides or {}).items()), seed, fingerprint)).encode())
    )
    matrices = confusion(miou, classes, patches, fingerprint, rng)
    iou = class_iou(matrices)
    best = float(np.nanmean(iou[1:]))
    folder.mkdir(parents=True, exist_ok=True)
    lines = history(best, iou, list(classes), steps, evaluations, words["pseudo_label"], config, rng)
    text = "\n".join(json.dumps(line) for line in lines) + "\n"
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8", newline="\n")
    sources = np.array([f"DJI_{patch // 2:04d}" for patch in range(patches)])
    np.savez_compressed(folder / "confusion_best.npz", val=matrices, source=sources)
    arrays: Any = examples(len(classes), patches, fingerprint, miou, rng)
    np.savez_compressed(folder / "examples.npz", **arrays)
    facts = summary_of(folder, model, seed, classes, words, fingerprint, patches, lines, iou)
    (folder / "summary.json").write_text(json.dumps(facts | dict(summary or {}), indent=2), encoding="utf-8")
    (folder / "log.txt").write_text("Training: 0 iterations done\n", encoding="utf-8")
    write_config(folder / ".hydra", config, [f"model={model}", f"seed={seed}"])
    return folder


def recipe(model: str, seed: int, steps: int, overrides: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and config-group words of a run; a model that is not known is V3 by another name."""
    system = MODELS.get(model, MODELS["v3"])
    config: dict[str, Any] = {"seed": seed, "name": f"{model}-{seed}", "experiment_name": "semiseg", "output": "runs"}
    config |= copy.deepcopy({part: system[part] for part in ("model", "pseudo_label", "loss", "optim")})
    config["model"]["name"] = model
    config["trainer"] = {"max_steps": steps, "batch_size": 4, "unlabeled_batch_size": 4, "crop_size": PATCH}
    config["data"] = {"root": "data/salak", "split_by": "source", "exclude_from_miou": [0]}
    words = {"model": model, **system["words"], "data": "salak", "trainer": "full", "experiment": None}
    for key, value in overrides.items():
        group, _, name = key.rpartition(".")
        if not group:
            words[key] = value
        if key == "pseudo_label" and value == "none":
            config["pseudo_label"] = copy.deepcopy(MODELS["lightweight"]["pseudo_label"])
        elif key in config and isinstance(config[key], dict):
            config[key]["word"] = value
        else:
            node = config
            for part in group.split(".") if group else []:
                node = node.setdefault(part, {})
            node[name] = value
    return config, words


def confusion(miou: float, classes: Classes, patches: int, fingerprint: str, rng: np.random.Generator) -> np.ndarray:
    """[N, C, C] int64, rows truth. Two runs share the truth and how hard each patch is, as on real data."""
    count = len(classes)
    shared = np.random.default_rng(zlib.crc32(fingerprint.encode()))
    truth = shared.dirichlet(np.ones(count), size=patches)
    hardness = shared.normal(0, 0.08, patches)
    target = 2 * miou / (1 + miou)  # the recall that gives this IoU where errors go to all classes alike
    ease = np.linspace(0.08, -0.08, count)  # the same order of classes in every run
    recall = np.clip(target + ease + hardness[:, None] + rng.normal(0, 0.02, (patches, count)), 0.02, 0.98)
    pixels = np.round(truth * PATCH * PATCH).astype(np.int64)
    hit = np.round(pixels * recall).astype(np.int64)
    wrong = (pixels - hit)[:, :, None] // (count - 1) * (1 - np.eye(count, dtype=np.int64))
    return wrong + hit[:, :, None] * np.eye(count, dtype=np.int64)


def class_iou(matrices: np.ndarray) -> np.ndarray:
    """IoU of each class over all patches, [C]."""
    total = matrices.sum(0)
    hit = np.diag(total)
    return hit / (total.sum(0) + total.sum(1) - hit)


def history(
    best: float,
    iou: np.ndarray,
    names: list[str],
    steps: int,
    evaluations: int,
    pseudo_label: str,
    config: Mapping[str, Any],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: five logs an evaluation, and the best evaluation two thirds into the run."""
    log_every = max(1, steps // (5 * evaluations))
    every = max(1, steps // evaluations // log_every) * log_every
    peak = max(1, round(evaluations * 2 / 3))
    lines: list[dict[str, Any]] = []
    record = 0.0
    for step in range(log_every, steps + 1, log_every):
        done = step / steps
        lines.append({"step": step, "time": 1_795_000_000 + 2 * step, **_logged(done, step, pseudo_label, config, rng)})
        if step % every:
            continue
        number = step // every
        level = 1.0 if number == peak else (1 - np.exp(-3 * done)) * rng.uniform(0.9, 0.97)
        record = max(record, best * level)
        values = {
            "val/miou": best * level,
            "val/miou_all": 0.97 * best * level,
            "train/miou": best * level + 0.1 * done,
        }
        scores = {
            f"{side}/iou/{n}": float(v * level) for side in ("val", "train") for n, v in zip(names, iou, strict=True)
        }
        line = {"step": step, "time": 1_795_000_001 + 2 * step, **values, **scores}
        lines.append(line | {"gap": 0.1 * done, "best/val_miou": record})
    return lines


def _logged(
    done: float, step: int, pseudo_label: str, config: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, float]:
    """What a log step writes."""
    noise = rng.uniform(0.95, 1.05, 6)
    values = {"loss/ce": 1.2 * np.exp(-2 * done) * noise[0], "loss/total": 1.5 * np.exp(-2 * done) * noise[1]}
    values |= {"lr/student": config["optim"]["lr"] * (1 - done), "images_per_s": 6.0 * noise[2]}
    values["peak_memory_mib"] = 1500.0
    if config["loss"].get("dice_weight"):
        values["loss/dice"] = 0.6 * np.exp(-done) * noise[3]
    if pseudo_label != "none" and step > config["pseudo_label"]["start_step"]:
        coverage = min(0.9, 0.3 + 0.4 * done) * noise[4]
        values |= {"loss/st": 0.4 * noise[5], "st/coverage": coverage, "st/precision": 0.85 - 0.1 * done}
        values |= {"st/pixels": coverage * 4 * PATCH**2, "st/images": 4 * min(1.0, coverage)}
        values["pseudo_label/threshold"] = config["pseudo_label"]["threshold"]
    if "discriminator" in pseudo_label:
        values["loss/discriminator"] = 0.4 * noise[5]
    return {name: float(value) for name, value in values.items()}


def summary_of(
    folder: Path,
    model: str,
    seed: int,
    classes: Classes,
    words: Mapping[str, Any],
    fingerprint: str,
    patches: int,
    lines: list[dict[str, Any]],
    iou: np.ndarray,
) -> dict[str, Any]:
    """summary.json of the run that wrote these lines."""
    system = MODELS.get(model, MODELS["v3"])
    evaluated = [line for line in lines if "val/miou" in line]
    best = max(evaluated, key=lambda line: line["val/miou"])
    trained = [line for line in lines if "st/pixels" in line]
    st = {f"st_{k}": trained[-1][f"st/{k}"] if trained else None for k in ("pixels", "images", "coverage", "precision")}
    steps = lines[-1]["step"]
    return {
        "status": "finished", "name": folder.name, "experiment": "semiseg", "model": model, "choices": dict(words),
        "seed": seed, "num_classes": len(classes), "classes": list(classes), "eval_size": [PATCH, PATCH],
        "colors": {name: list(color) for name, color in classes.items()}, "miou_leaves_out": [next(iter(classes))],
        "parameters": system["parameters"], "gflops": system["gflops"], "weights_of_record": "model", "sweep": None,
        "sources": (patches + 1) // 2, "steps": steps, "total_steps": steps,
        "best_val_miou": best["val/miou"], "best_val_miou_all": best["val/miou_all"], "best_step": best["step"],
        "final_val_miou": evaluated[-1]["val/miou"], "train_miou": best["train/miou"], "gap": best["gap"],
        "class_iou": {name: float(value) for name, value in zip(classes, iou, strict=True)}, "absent_classes": [],
        **st, "images_per_s": system["images_per_s"], "seconds_per_step": 8 / system["images_per_s"],
        "train_seconds": steps * 8 / system["images_per_s"], "peak_memory_mib": 1500.0, "skipped_files": 0,
        "checkpoints": ["best_model.pth"], "best_weights": None, "warnings": [], "findings": [],
        "mlflow_run_id": None, "data_fingerprint": fingerprint,
        "pools": {"train": 4 * patches, "val": patches, "unlabeled": 20 * patches},
        "git_commit": "0123456789abcdef0123456789abcdef01234567", "command": f"semiseg train model={model} seed={seed}",
        "versions": {"semiseg": "0.1.0", "torch": "2.15.0", "python": "3.11.7"}, "hardware": "cpu x86_64, 2 threads",
    }  # fmt: skip


def examples(
    classes: int, patches: int, fingerprint: str, miou: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Arrays of examples.npz: blocks of classes, of which a share of the blocks is predicted wrong."""
    shared = np.random.default_rng(zlib.crc32(fingerprint.encode()))
    count, block = min(EXAMPLES, patches), 8
    cells = shared.integers(0, classes, (count, EXAMPLE // block, EXAMPLE // block), dtype=np.uint8)
    wrong = rng.random(cells.shape) > 2 * miou / (1 + miou)
    guess = np.where(wrong, rng.integers(0, classes, cells.shape, dtype=np.uint8), cells)
    truth, prediction = (np.kron(each, np.ones((1, block, block), np.uint8)) for each in (cells, guess))
    shade = (40 + 170 * truth.astype(float) / classes)[..., None] + shared.normal(0, 12, (*truth.shape, 3))
    truth[:, 0] = 255
    names = np.array([f"DJI_{2 * i:04d}_patch_000_{i:03d}" for i in range(count)])
    return {"names": names, "image": shade.clip(0, 255).astype(np.uint8), "truth": truth, "prediction": prediction}


def write_config(folder: Path, config: Mapping[str, Any], overrides: list[str]) -> None:
    """`.hydra/config.yaml` and `overrides.yaml`, as Hydra writes them."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("\n".join(yaml_lines(config)) + "\n", encoding="utf-8")
    (folder / "overrides.yaml").write_text("".join(f"- {each}\n" for each in overrides), encoding="utf-8")


def yaml_lines(node: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested mappings as YAML; every other value as JSON, which is YAML too."""
    lines = []
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", *yaml_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return lines
