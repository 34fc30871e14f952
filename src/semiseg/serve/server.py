"""The web server of the page, on one port of this machine."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response

from semiseg.errors import ConfigError
from semiseg.serve.page import STYLE, theme

# The page runs scripts of its own and asks nobody but this server for anything.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; frame-ancestors 'none'"
PATIENCE = 1  # seconds for open connections at the end: a page keeps one open as long as it is shown


def application(page: gr.Blocks) -> FastAPI:
    """The page under a policy that lets a browser fetch nothing from elsewhere."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def closed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return gr.mount_gradio_app(
        app, page, path="/", footer_links=[], run_history=False, show_error=False, ssr_mode=False, pwa=False,
        mcp_server=False, enable_monitoring=False, theme=theme(), css=STYLE.read_text(encoding="utf-8"),
    )  # fmt: skip


def bound(host: str, port: int) -> socket.socket:
    """A socket of that address; port 0 is any that is free. Raises ConfigError where it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"host={host} port={port} cannot be served: {error.strerror}. Give another port, or port=0 for any that is "
            "free, or host=127.0.0.1."
        ) from error


class Server(uvicorn.Server):
    """Calls `ready` once it answers."""

    def __init__(self, app: FastAPI, ready: Callable[[], object]) -> None:
        super().__init__(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=PATIENCE))
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()


def serve(app: FastAPI, at: socket.socket, ready: Callable[[], object]) -> None:
    """Until Ctrl-C, or until the process is told to end, which is answered in the same way."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Server(app, ready).run(sockets=[at])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
