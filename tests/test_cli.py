"""The command line, called in this process: exit status, and one clear message for each mistake."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from semiseg.cli import VERBS, main, register_resolvers, run_name, run_verb
from semiseg.errors import DataError
from semiseg.files import write_json


@pytest.fixture(autouse=True)
def private_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hydra's state, the arguments, the environment and the working directory are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["semiseg"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    yield
    Singleton.set_state(state)


@pytest.fixture
def replace_train(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Put another function in the place of the training."""
    return lambda function: monkeypatch.setattr("semiseg.train.main", function)


def complaint(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What `train` says on standard error when it exits with 1."""
    assert run_verb("train", ["tracking=none", *overrides]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert printed.err.startswith("semiseg: ")
    assert "\nsemiseg: " not in printed.err
    return printed.err.removeprefix("semiseg: ")


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model=v33"], ["model=v33: there is no conf/model/v33.yaml", "Did you mean v3?", "lightweight_original"]),
        (["pseudo_label=softmx"], ["Did you mean softmax", "discriminator_scheduled"]),
        (["trainer.max_step=9"], ["trainer has no key 'max_step'", "Did you mean max_steps", "batch_size"]),
        (["model=v1", "pseudo_label.optim.betta=1"], ["pseudo_label.optim has no key 'betta'", "Did you mean betas?"]),
        (["experimant=v3_1"], ["no group or key 'experimant'", "Did you mean experiment or experiment_name?"]),
        (["swep=ladder"], ["Did you mean sweep or seed?"]),
        (["trianer.max_steps=9"], ["no group or key 'trianer'", "Did you mean trainer"]),
        (["trainer.max_steps=many"], ["trainer.max_steps is 'many'; it must be a whole number or null."]),
        (["trainer.precision=bf61"], ["trainer.precision is 'bf61'; it must be one of auto, bf16, fp16, fp32."]),
        (["optim.schedule=cosin"], ["optim.schedule is 'cosin'", "polynomial, cosine, constant"]),
        (["+trainer.lr=1"], ["trainer.lr is no setting.", "log_every"]),
        (["+speed=1"], ["speed is no setting. Did you mean seed?"]),
        (["seed=abc"], ["seed is 'abc'; it must be a whole number."]),
        (["seed=-1"], ["seed is -1; it must be 0 or more"]),
        (["resume=perhaps"], ["resume is 'perhaps'; it must be true or false."]),
        (["data=salak"], ["No value for data.root. Add to the command: data.root=PATH"]),
        (["loss=null"], ["loss=null: loss takes one of the words ce, combined"]),
        (["max_steps"], ["'max_steps' is no override; write KEY=VALUE"]),
        (["model=v1,v2"], ["Add -m to run each value: semiseg train -m"]),
        (["resume=true"], ["resume=true needs the name of a run in", "experiment_name= or output="]),
        (["resume=true", "hydra.run.dir=none"], ["none holds no run. Leave out resume=true"]),
        (["+sweep=ladder"], ["+sweep=ladder starts several runs: add -m."]),
        (["hydra/launcher=locl"], ["Did you mean local"]),
        (["hydra.launcher.n_job=2"], ["hydra.launcher has no key 'n_job'. Did you mean n_jobs?"]),
    ],
)
def test_mistake_ends_with_one_message_and_a_way_out(
    capsys: pytest.CaptureFixture[str], overrides: list[str], parts: list[str]
) -> None:
    text = complaint(capsys, *overrides)
    for part in parts:
        assert part in text


def test_wrong_names_leave_nothing_behind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    complaint(capsys, "model=v33")
    complaint(capsys, "trainer.max_step=9")
    complaint(capsys, "name=a/b")
    assert list(tmp_path.iterdir()) == []


def test_file_where_the_output_should_be_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    text = complaint(capsys, "output=out")
    assert "out" in text
    assert "output=PATH" in text


def test_a_full_disk_is_one_message_in_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(config: DictConfig) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importlib.import_module("semiseg.report.compare"), "main", fill)
    assert run_verb("compare", []) == 1
    assert capsys.readouterr().err.strip() == (
        "semiseg: A file: No space left on device. Free space, or give a folder that can be written with out=PATH."
    )


def test_success_is_0_and_the_composed_config_arrives(replace_train: Callable) -> None:
    seen = []
    replace_train(lambda config: seen.append((config.model.name, config.trainer.max_steps)))
    assert run_verb("train", ["model=v1", "trainer.max_steps=7"]) == 0
    assert seen == [("v1", 7)]


def test_one_failing_job_of_a_sweep_lets_the_others_run(
    replace_train: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = []

    def train(config) -> float:
        seeds.append(config.seed)
        if config.seed == 1:
            raise DataError("no images in here")
        folder = Path(HydraConfig.get().runtime.output_dir)
        write_json(folder / "summary.json", {"status": "finished", "best_val_miou": 0.5})
        return 0.5

    replace_train(train)
    assert run_verb("train", ["seed=0,1,2", "-m", "hydra/launcher=basic"]) == 1
    assert seeds == [0, 1, 2]
    printed = capsys.readouterr()
    assert "Job 1 failed: no images in here" in printed.out
    assert printed.err.startswith("semiseg: 1 of 3 jobs did not finish.")


def test_interrupt_exits_with_130(replace_train: Callable) -> None:
    def interrupt(config) -> float:
        raise KeyboardInterrupt

    replace_train(interrupt)
    assert run_verb("train", []) == 130


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("without a file")])
def test_unexpected_errors_keep_their_traceback(replace_train: Callable, error: Exception) -> None:
    def fail(config) -> float:
        raise error

    replace_train(fail)
    with pytest.raises(type(error), match=str(error)):
        run_verb("train", [])


def test_without_a_verb_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    main(["--help"])
    printed = capsys.readouterr().out
    assert all(printed.count(f"semiseg {verb} ") == 2 for verb in VERBS)


def test_unknown_verb_is_refused_with_the_list() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["trian"])
    assert "no verb 'trian'" in str(caught.value.code)
    assert "semiseg compare" in str(caught.value.code)


def test_main_exits_with_the_status_of_its_verb(replace_train: Callable) -> None:
    replace_train(lambda config: None)
    for arguments, status in ((["train"], 0), (["train", "model=v33"], 1)):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == status


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_how_to_call_it(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit) as caught:  # Hydra prints and exits
        run_verb(verb, ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"semiseg {verb}" in printed
    assert "Examples" in printed


def test_runs_of_one_second_have_different_names() -> None:
    names = {run_name("v3") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("v3-") for name in names)


@pytest.mark.parametrize(
    ("by", "expected"), [(-0.1, {"a": None, "b": 0.5, "c": 0.0}), (0.5, {"a": None, "b": 0.99, "c": 0.55})]
)
def test_class_thresholds_are_shifted_together(by: float, expected: dict) -> None:
    register_resolvers()
    config = OmegaConf.create(
        {"data": {"class_thresholds": {"a": None, "b": 0.6, "c": 0.05}}, "x": f"${{shifted:{by}}}"}
    )
    assert OmegaConf.to_container(config, resolve=True)["x"] == expected
    config.data.class_thresholds = list(config.data.class_thresholds.values())
    assert config.x == list(expected.values())
    config.data.class_thresholds = None
    with pytest.raises(InterpolationResolutionError, match="no thresholds of classes to shift"):
        _ = config.x


def test_only_training_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb("compare", ["-m", "baseline=v1,v3"]) == 1
    assert capsys.readouterr().err == "semiseg: semiseg compare does one thing at a time: leave out -m.\n"
