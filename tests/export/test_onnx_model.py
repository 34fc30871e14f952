"""An exported file stands for its run, and what is no such file is refused with one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from semiseg.errors import CheckpointError, ConfigError, SemisegError
from semiseg.export.onnx_model import OnnxTrained, load_onnx
from semiseg.export.packages import require
from semiseg.trained import Trained, load_predictor


def changed(exported: Path, to: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """The file with other metadata."""
    model = onnx.load(exported / "model.onnx")
    found = {each.key: each.value for each in model.metadata_props}
    change(found)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, found)
    onnx.save(model, to)
    return to


def test_run_names_a_file_or_a_run(exported: Path, trained: Trained, images: list[Tensor]) -> None:
    cpu = torch.device("cpu")
    batch = torch.stack(images)
    file = load_predictor(exported / "model.onnx", cpu)
    assert isinstance(file, OnnxTrained) and file.device == cpu
    assert file.weights == exported / "model.onnx" and file.folder == exported
    assert load_predictor(exported / "model.int8.onnx", cpu).folder == exported / "model.int8"
    found = file.probabilities(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, trained.probabilities(batch), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, ConfigError, "does not exist"),
        (b"", CheckpointError, "no ONNX file, or it is damaged"),
        (b"hello", CheckpointError, "no ONNX file, or it is damaged"),
    ],
)
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes | None, error: type[SemisegError], said: str) -> None:
    path = tmp_path / "some.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=said) as caught:
        load_onnx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_file_is_damaged(exported: Path, tmp_path: Path, share: float) -> None:
    content = (exported / "model.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises((CheckpointError, ConfigError), match=r"cut\.onnx"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda found: found.clear(), ConfigError, "was not written by semiseg export"),
        (lambda found: found.update(semiseg_format="7"), ConfigError, "of format 7"),
        (lambda found: found.update(classes='["soil"'), CheckpointError, "damaged metadata"),
        (lambda found: found.pop("config"), CheckpointError, "damaged metadata"),
        (lambda found: found.update(colors="[[1, 2, 3]]"), CheckpointError, "damaged metadata"),
        (
            lambda found: found.update(config='{"data": {"layout": {"_target_": "os.system"}}}'),
            ConfigError,
            "data.layout._target_ is 'os.system', which is no class of semiseg",
        ),
        (
            lambda found: found.update(classes='["a", "b"]', colors="[[1, 2, 3], [4, 5, 6]]"),
            CheckpointError,
            "predicts 3 classes and names 2",
        ),
    ],
)
def test_metadata_that_cannot_be_used(
    exported: Path, tmp_path: Path, change: Callable, error: type[SemisegError], said: str
) -> None:
    with pytest.raises(error, match=said):
        load_onnx(changed(exported, tmp_path / "changed.onnx", change))


def test_a_missing_package_is_named_with_its_command() -> None:
    with pytest.raises(ConfigError, match=r"need the package no_such_package: pip install -e \"\.\[export\]\""):
        require("json", "no_such_package")
