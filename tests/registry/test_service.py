"""What a registered model answers, in this process and from a real `mlflow models serve`."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from semiseg.registry.service import SegmentationService
from semiseg.trained import Trained, load_trained

START = 120  # seconds, of which the imports of two processes take most
Encode = Callable[[np.ndarray], str]


@pytest.fixture(scope="module")
def trained(workplace: Path) -> Trained:
    return load_trained(workplace / "runs" / "semiseg" / "first", torch.device("cpu"))


@pytest.fixture
def service(trained: Trained) -> SegmentationService:
    made = SegmentationService()
    made.trained = trained
    return made


def check_row(row: dict[str, Any], trained: Trained, image: np.ndarray) -> None:
    """A row of an answer is what the network says of the image."""
    probabilities = trained.probabilities(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()
    with Image.open(BytesIO(base64.b64decode(row["class_map"]))) as opened:
        assert opened.getpalette()[:6] == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(np.asarray(opened), probabilities.argmax(0))
    assert list(row["shares"]) == ["soil", "palm"]
    assert row["shares"]["palm"] == pytest.approx((probabilities.argmax(0) == 1).mean(), abs=1e-6)
    assert row["confidence"] == pytest.approx(probabilities.max(0).mean(), abs=0.01)


def test_each_image_is_answered_in_its_own_size(
    service: SegmentationService, trained: Trained, picture: np.ndarray, encode: Encode
) -> None:
    images = [picture, picture[:65, ::-1].copy()]
    table = service.predict(None, pd.DataFrame({"image": list(map(encode, images))}))  # pyright: ignore[reportArgumentType]
    for row, image in zip(table.to_dict("records"), images, strict=True):
        check_row(row, trained, image)


def huge() -> str:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return base64.b64encode(header).decode()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("not base64!", "image 1 of the request is not base64"),
        ("aGVsbG8=", "image 1 of the request is no PNG, JPEG"),
        (None, "image 1 of the request is no PNG|is not base64"),
        (huge(), "3,600,000,000 pixels, a request can have 67,108,864"),
    ],
)
def test_bad_input_is_refused_before_anything_is_decoded(
    service: SegmentationService, image: str | None, said: str
) -> None:
    with pytest.raises(MlflowException, match=said) as refused:
        service.predict(None, pd.DataFrame({"image": [image]}))  # pyright: ignore[reportArgumentType]
    assert refused.value.get_http_status_code() == 400


def test_an_image_that_is_cut_short_is_refused(
    service: SegmentationService, picture: np.ndarray, encode: Encode
) -> None:
    cut = base64.b64encode(base64.b64decode(encode(picture))[:400]).decode()
    with pytest.raises(MlflowException, match="image 2 of the request is damaged"):
        service.predict(None, pd.DataFrame({"image": [encode(picture), cut]}))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def server(here: Path) -> Iterator[str]:
    """Address of the served model; its processes are gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/landcover/1"]
    uri = f"sqlite:///{(here / 'runs' / 'mlflow.db').as_posix()}"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow calls uvicorn by its name
    environment = os.environ | quiet | {"MLFLOW_TRACKING_URI": uri, "PATH": path}
    with (here / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", port],
            env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, here / "serve.log")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            stop(process)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not answer within {START} s: {log.read_text(encoding='utf-8')}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()
    process.wait(10)


def ask(address: str, image: str) -> tuple[int, Any]:
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[image]]}}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_mlflow_serves_it(server: str, trained: Trained, picture: np.ndarray, encode: Encode) -> None:
    status, answer = ask(server, encode(picture))
    assert status == 200
    check_row(answer["predictions"][0], trained, picture)
    status, answer = ask(server, "aGVsbG8=")
    assert status == 400 and "image 1 of the request is no PNG, JPEG, TIFF" in answer["message"]
