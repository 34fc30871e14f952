"""One step of every system in well under a second: thin networks, tiny trees of patches, and configs run in process."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from tests.end_to_end.conftest import VOLATILE, plant, process_state
from tests.end_to_end.networks import thin_networks
from torch import Tensor

from semiseg import train
from semiseg.cli import register_resolvers, run_verb
from semiseg.config import conf_dir
from semiseg.errors import SemisegError
from semiseg.tracking.local import read_metrics

LONG = os.environ.get("SEMISEG_FAULTS") == "long"
LIMIT = 10  # seconds within which every setting is accepted or refused
CLASS_LIST = "class_name,class_color\nbackground,20 20 20\nroad,200 60 60\npalm,40 180 40\n"
SYSTEMS = ("v1", "v2", "v3", "lightweight", "lightweight_original")
SMALL = {
    "v1": ("model.encoder=resnet18", "pseudo_label.start_step=0"),
    "v2": ("model.encoder=resnet18", "pseudo_label.start_step=0"),
    "v3": ("model.encoder=resnet18", "model.num_heads=2", "pseudo_label.start_step=0"),
    "lightweight": ("model.aspp_channels=8", "model.decoder_channels=8"),
    "lightweight_original": (),
}
TREES = {  # word of conf/data -> what makes it read the tiny tree of its layout
    "salak": (
        "data.root=salak",
        "data.labeled_list=salak/labeled.txt",
        "data.val_list=salak/val.txt",
        "data.class_thresholds=null",
    ),
    "folder": ("data.root=folder", "data.class_mapping=folder/classes.csv", "data.class_thresholds=null"),
    "demo": (
        "data.layout.flights=5",
        "data.layout.labeled_flights=2",
        "data.layout.val_flights=2",
        "data.layout.scene_size=[384,512]",
        "data.layout.patch_size=128",
    ),
}
TINY = (
    "name=run",
    "trainer.crop_size=32",
    "trainer.batch_size=2",
    "trainer.unlabeled_batch_size=2",
    "trainer.max_steps=1",
    "trainer.max_epochs=null",
    "trainer.num_workers=0",
    "trainer.log_every=1",
    "trainer.channels_last=false",  # PyTorch 2.15 on a CPU corrupts its memory at channels_last with 4 channels
    "data.encoder_weights=null",
)


class GaveNoAnswer(BaseException):
    """A command that took longer than `LIMIT`; no Exception, which code that reads damaged files takes for its own."""


def plant_folder(root: Path) -> None:
    """Eight patches of four sources in images/ and masks/, the last two sources without masks."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for source in range(8):
        for patch in range(2):
            stem = f"s{source}_patch_0_{patch}.png"
            cv2.imwrite(str(root / "images" / stem), rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
            if source < 6:
                cv2.imwrite(str(root / "masks" / stem), rng.integers(0, 3, (48, 48), dtype=np.uint8))
    (root / "classes.csv").write_text(CLASS_LIST, encoding="utf-8")


@contextmanager
def guarded(seconds: int = LIMIT) -> Iterator[None]:
    """Raises GaveNoAnswer inside after that time of the processor, or twelve times that of the clock: a test machine
    may be busy with other things. Without effect where there are no such timers (Windows)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise GaveNoAnswer(f"no answer within {seconds} s")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 12 * seconds)}
    before = {number: signal.signal(number, ring) for number, _ in timers.values()}
    try:
        for timer, (_, after) in timers.items():
            signal.setitimer(timer, after)
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Bench:
    """A folder with the trees `salak` and `folder`, in which configs are composed, changed and trained."""

    path: Path
    hydra: DictConfig | None = None  # Hydra's own node of the config composed last

    @classmethod
    def plant(cls, path: Path) -> Bench:
        plant(path / "salak")
        plant_folder(path / "folder")
        return cls(path)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """In the folder with thin networks, and the process as it was afterwards."""
        with process_state(), contextlib.chdir(self.path), thin_networks():
            try:
                yield
            finally:
                HydraConfig.instance().cfg = None

    def command(self, *typed: str) -> int:
        """Exit status of the real command path."""
        with self.entered(), guarded():
            status = run_verb("train", list(typed))
        self.clear()
        return status

    def verb(self, *typed: str) -> int:
        """Exit status of the real command path, in the folder already."""
        return run_verb("train", list(typed))

    def outcome(self, *typed: str) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """What a run logged, and its weights of record."""
        with self.entered():
            assert run_verb("train", list(typed)) == 0
            run = self.path / "runs" / "semiseg" / "run"
            logged = [
                {k: v for k, v in line.items() if k not in VOLATILE} for line in read_metrics(run / "metrics.jsonl")
            ]
            weights = torch.load(next(run.glob("checkpoints/best_model*.pth")), weights_only=True)
        self.clear()
        return logged, weights

    def composed(self, *overrides: str) -> DictConfig:
        """The config as the command line composes it."""
        with process_state(), contextlib.chdir(self.path):
            register_resolvers()
            GlobalHydra.instance().clear()
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                config = compose("train", overrides=list(overrides), return_hydra_config=True)
        self.hydra = OmegaConf.masked_copy(config, "hydra")
        with read_write(self.hydra), open_dict(self.hydra):
            self.hydra.hydra.runtime.output_dir = str(self.path / "runs" / "semiseg" / "run")
        return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

    def train(self, config: DictConfig) -> str | None:
        """Train a composed config as the verb does; the text of the project's own error, or None when it trained."""
        try:
            with self.entered(), guarded():
                register_resolvers()
                HydraConfig.instance().set_config(self.hydra)
                train.main(copy.deepcopy(config))
        except SemisegError as error:
            return str(error)
        finally:
            self.clear()
        return None

    def clear(self) -> None:
        """Remove the runs, wherever they were written to; the data and the drawn scenes stay."""
        for folder in [*self.path.glob("*"), *self.path.glob("runs/*")]:
            if folder.name not in ("salak", "folder", "own", "runs", "cache"):
                shutil.rmtree(folder, ignore_errors=True)


def tiny(system: str, *others: str, data: str = "salak") -> list[str]:
    """The overrides of one thin step of a system; later ones win."""
    typed = [f"model={system}", f"data={data}", *TREES[data], *TINY, *SMALL[system], "tracking=none", *others]
    return list({each.partition("=")[0]: each for each in typed}.values())
