"""The objects of one training and the order in which they work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from semiseg import builder
from semiseg.config import build, flatten, plain, settings
from semiseg.console import Console
from semiseg.data.identity import identity
from semiseg.differences import reproduction_rows
from semiseg.engine import checkpoint as files
from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.device import Hardware, seed_everything
from semiseg.engine.engine import Engine
from semiseg.engine.evaluator import Evaluator
from semiseg.engine.memory import out_of_memory_at_start, told_as
from semiseg.engine.optim import total_steps
from semiseg.engine.recorder import Recorder
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.engine.space import check_space
from semiseg.errors import CheckpointError
from semiseg.files import write_json
from semiseg.methods import SemiSupervised
from semiseg.overrides import key_of
from semiseg.reproduce import Original
from semiseg.resumption import resume, start_from
from semiseg.run_folder import RunFolder, git_commit
from semiseg.samples import predict_examples
from semiseg.shell import program
from semiseg.stopping import StopRequest
from semiseg.summary import left_out_of_miou, next_command, result_rows, summarise
from semiseg.tracking.base import Tracker
from semiseg.tracking.naming import STATUS


class Run:
    """The objects of one training and the order in which they work."""

    def __init__(
        self,
        config: DictConfig,
        folder: RunFolder,
        console: Console,
        choices: dict[str, Any],
        original: Original | None = None,
    ) -> None:
        self.config, self.folder, self.console, self.choices = config, folder, console, choices
        self.original = original  # of reproduce=RUN
        self.trainer = settings(TrainerConfig, config.trainer, "trainer")
        self.optim = settings(OptimConfig, config.optim, "optim")
        self.hardware = Hardware.of(self.trainer)
        console.message(self.hardware.described())
        self.tracker: Tracker = build(config.tracking, "tracking")
        seed_everything(config.seed, self.trainer.deterministic)
        self.parts = builder.build_parts(config, self.optim)
        self._check_file()
        self.bundle = builder.build_bundle(config)
        if original is not None:
            original.check_data(self.bundle.fingerprint(), config.data.root)
        self._tell_of_data()
        self.labeled = len(self.bundle.pools.train)
        with told_as(out_of_memory_at_start, self.hardware.device):
            self.method = self._method()
        self.eval_size: list[int] | None = None  # height and width of the validation patches, once it is evaluated
        self.recorder = self._recorder()
        self.stop = StopRequest()
        self.engine = self._engine()

    def _check_file(self) -> None:
        """A file to start from that is not there is found before minutes go into reading the data."""
        path = self.config.restore_from
        if path is not None and not Path(path).expanduser().is_file():
            try:
                files.load(Path(path).expanduser())  # raises, and names the checkpoints beside it
            except CheckpointError as error:
                raise CheckpointError(f"restore_from: {error}") from None

    def _tell_of_data(self) -> None:
        self.console.pools(self.bundle.pools.notes)
        for text in self.bundle.pools.warnings:
            self.console.warning(text)
        if left_out := left_out_of_miou(self.bundle):
            self.console.message(f"val mIoU leaves out: {', '.join(left_out)}")
        if self.choices.get("optim") == "demo":
            self.console.message(
                "optim=demo, which data=demo brings, replaces the recipe's optimiser: sgd_polynomial (v1), "
                "sgd_cosine (v2, v3) or adamw (lightweight); name one with optim=WORD."
            )

    def _method(self) -> SemiSupervised:
        length = total_steps(self.trainer, self.labeled)
        method = builder.build_method(self.config, self.parts, self.bundle, self.optim, length)
        builder.check_batches(method, self.trainer, self.bundle.pools)
        if method.student.origin is not None:
            self.console.message(method.student.origin)
        layout = torch.channels_last if self.trainer.channels_last else torch.contiguous_format
        return method.to(device=self.hardware.device, memory_format=layout)  # pyright: ignore[reportCallIssue]

    def _recorder(self) -> Recorder:
        names, device = self.bundle.classes.names, self.hardware.device
        return Recorder(self.folder.path, self.tracker, self.console, names, device, flatten(plain(self.config)))

    def _engine(self) -> Engine:
        method, hardware = self.method, self.hardware
        networks = {"": method.student, "_D": method.discriminator, "_ema": method.ema and method.ema.network}
        optimizers, optim = builder.build_optimizers(method, self.optim)
        return Engine(
            method=method,
            optimizers=optimizers,
            optim=optim,
            trainer=self.trainer,
            device=hardware.device,
            dtype=hardware.dtype,
            labeled=self.labeled,
            open_stream=lambda start: builder.build_stream(
                self.bundle, self.parts.aug, self.trainer, method.labeler, hardware, self.config.seed, start
            ),
            evaluate=Evaluator(self.bundle, self.trainer.eval_batch_size, hardware),
            checkpoints=CheckpointFolder(
                self.folder.checkpoints,
                {suffix: network for suffix, network in networks.items() if network is not None},
                self.trainer.keep_last,
                self.folder.identity,
            ),
            recorder=self.recorder,
            config=plain(self.config),
            stop_requested=self.stop,
            data=identity(self.bundle),
        )

    def execute(self) -> float:
        """Train, and leave a summary whichever way it ends."""
        self._restore()
        if too_small := check_space(self.engine):
            self.console.warning(too_small)
        # Not earlier: a resumption that is refused must leave the overrides that the next one starts from.
        self.folder.write_config(self.config, list(HydraConfig.get().overrides.task))
        self._start_tracking()
        status = "failed"
        with self.stop:
            try:
                status = self._fit()
                if status == "stopped early":
                    self.console.message(self._why_early())
            except KeyboardInterrupt:  # a second Ctrl-C
                status = "interrupted"
                raise
            finally:
                summary = self._conclude(status)
                if status == "interrupted":
                    self.console.message(self._how_to_continue())
        if status == "interrupted":
            raise self.stop.stopped()
        rows = result_rows(summary, self.folder.path, self.tracker) | reproduction_rows(summary.get("reproduction"))
        self.console.finish(rows, next_command(self))
        return summary["best_val_miou"]  # of the weights in the files

    def _fit(self) -> str:
        """The engine's, also where a request to end reached the loader's processes too and broke the step."""
        try:
            return self.engine.fit()
        except CheckpointError:
            raise
        except Exception as error:
            if not self.stop():
                raise
            self.console.warning(f"The last step was cut short: {error}")
            return "interrupted"

    def _how_to_continue(self) -> str:
        where = f"Stopped at iteration {self.engine.step}"
        if not self.folder.resumable:
            return f"{where}, before the first checkpoint (trainer.save_latest_every={self.trainer.save_latest_every})."
        return f"{where}. Continue from the newest checkpoint with: {program('train')} {self.folder.resumption()}"

    def _why_early(self) -> str:
        patience, engine, count = self.trainer.early_stop_patience, self.engine, self.engine.best.since
        since = f"{count} evaluation{'s' * (count != 1)} without a new best (trainer.early_stop_patience={patience})"
        way = "the same under another name="
        if self.folder.resumable:
            way = f"{program('train')} {self.folder.resumption()}"
        return (
            f"Stopped early at iteration {engine.step} of {engine.total_steps}: {since}. To go on all the same: "
            f"{way} trainer.early_stop_patience=null"
        )

    def _restore(self) -> None:
        if self.config.resume:
            resume(self.engine, self.console)
        elif self.config.restore_from is not None:
            start_from(self.engine, Path(self.config.restore_from).expanduser(), self.console)

    def _start_tracking(self) -> None:
        tags = {
            "model": str(self.config.model.name),
            "seed": str(self.config.seed),
            "git_commit": git_commit() or "unknown",
            "data_fingerprint": self.bundle.fingerprint(),
            "run_folder": str(self.folder.path.resolve()),
        }
        if self.folder.sweep:
            tags["sweep"] = self.folder.path.parent.name
        run_id = self.recorder.progress.run_id
        self.tracker.start(
            run_name(self.config, self.folder),
            tags,
            run_dir=self.folder.path,
            run_id=run_id,
            anew=self.engine.step == 0,
            warn=self.console.warning,
        )
        self.recorder.progress.run_id = self.tracker.run_id
        self.tracker.log_params(plain(self.config))
        self.tracker.log_artifact(self.folder.path / ".hydra" / "config.yaml")

    def _conclude(self, status: str) -> dict[str, Any]:
        lost: CheckpointError | None = None
        if STATUS[status] == "FINISHED":
            try:
                self._show_best()
            except CheckpointError as error:  # deleted or damaged since it was written
                status, lost = "failed", error
        summary = summarise(self, status)
        if self.original is not None:
            summary["reproduction"] = self.original.compare(self.folder.path, summary)
        try:
            write_json(self.folder.summary, summary)
        except OSError as error:  # a full disk must not hide what ended the run
            self.console.warning(f"{self.folder.summary} could not be written: {error.strerror}")
        self.tracker.log_artifact(self.folder.summary)
        self.tracker.finish(STATUS[status])
        if lost is not None:
            raise CheckpointError(f"{lost} The training is done, without its best weights: resume=true makes others.")
        return summary

    def _show_best(self) -> None:
        """Predictions of the best weights. Raises CheckpointError where these are gone."""
        self.method.evaluated.load_state_dict(files.read(self.engine.checkpoints.best))
        examples = predict_examples(self.method.evaluated, self.bundle, self.hardware.device)
        try:
            examples.save(self.folder.path / "examples.npz")
        except OSError as error:  # the training is done: its summary must not be lost with a picture
            self.console.warning(f"{self.folder.path / 'examples.npz'} could not be written: {error.strerror}")
        self.eval_size = list(examples.truth.shape[1:])
        self.tracker.log_figure(examples.draw(self.bundle.classes.colors), "sample_predictions")
        self.tracker.log_artifact(self.engine.checkpoints.best, "checkpoints")


def run_name(config: DictConfig, folder: RunFolder) -> str:
    """Name in the tracker: the run's own, or what its sweep changed in this job."""
    if folder.sweep:
        varied = [each for each in folder.varied() if key_of(each) != "model"]
        return f"{config.model.name} {','.join(varied)}".rstrip()
    return str(config.name)
