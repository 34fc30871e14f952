"""The verb `serve`: a page on this machine that predicts the images dropped on it."""

from __future__ import annotations

import ipaddress
import os
import sys
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console as Terminal

from semiseg.config import check_missing, settings, ungrouped
from semiseg.engine.device import pick_device
from semiseg.engine.settings import at_least, check_device
from semiseg.errors import ConfigError
from semiseg.prediction.options import PredictConfig
from semiseg.prediction.raster import check_stretch
from semiseg.printable import say
from semiseg.streams import tolerant
from semiseg.trained import load_predictor

LAST_PORT = 65535


@dataclass
class ServeConfig:
    """Settings of the verb."""

    run: str
    host: str = "127.0.0.1"
    port: int = 7860
    open: bool = True
    stretch: Any = None
    device: str = "auto"

    def __post_init__(self) -> None:
        at_least("port", self.port, 0)
        if self.port > LAST_PORT:
            raise ConfigError(f"port={self.port}: ports go up to {LAST_PORT}. Give one from 1024 on, or 0 for any.")
        if not self.host:
            raise ConfigError("host is empty. Give host=127.0.0.1, or host=0.0.0.0 to be reached from other machines.")
        check_device("device", self.device)
        check_stretch(self.stretch)

    @property
    def local(self) -> bool:
        """Whether nobody but this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def main(config: DictConfig) -> int:
    """Serve until Ctrl-C; 0. Raises ConfigError where gradio is missing or the port is taken."""
    check_missing(config)
    cfg = settings(ServeConfig, ungrouped(config), "")
    require_gradio()
    from semiseg.serve.page import build_page
    from semiseg.serve.server import application, bound, serve

    at = bound(cfg.host, cfg.port)
    terminal = Terminal(file=tolerant(sys.stdout), highlight=False)
    with at, tempfile.TemporaryDirectory(prefix="semiseg-", ignore_cleanup_errors=True) as folder:
        system = load_predictor(cfg.run, pick_device(cfg.device))
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        predicting = PredictConfig(run=cfg.run, out=folder, device=cfg.device, stretch=cfg.stretch)
        app = application(build_page(system, predicting, Path(folder)))
        address = address_of(cfg.host, at.getsockname()[1])

        def ready() -> None:
            if not cfg.local:
                say(terminal, f"Everybody who reaches {cfg.host} can use this page: it asks for no password.", "yellow")
            say(terminal, f"Serving {system.name} at {address} (Ctrl-C ends it)")
            if cfg.open:
                webbrowser.open(address)

        serve(app, at, ready)
    say(terminal, "Stopped.")
    return 0


def require_gradio() -> None:
    """Raises ConfigError with the command that installs it."""
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise ConfigError('semiseg serve needs the package gradio: pip install -e ".[serve]"') from None


def address_of(host: str, port: int) -> str:
    """As typed into a browser of this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"
