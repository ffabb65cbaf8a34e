"""The HTTP listener around a running server, or a process beside it: from the address that is taken to the end by a signal."""

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import uvicorn

from .config import HttpConfig
from .errors import ServerError

LOG = logging.getLogger(__name__)


class _Http(uvicorn.Server):
    """One that has live streams end before it waits for requests: they would not by themselves, and be cut off with a trace."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        live = getattr(getattr(self.config.app, "state", None), "live", None)
        if live is not None:
            live.end()
        await super().shutdown(sockets)


class Serving:
    """Answers HTTP for one application. `end` may be called from every thread, and by a signal."""

    def __init__(self, web: Any, config: HttpConfig) -> None:
        """web: an ASGI application."""
        tls = {"ssl_certfile": config.certificate, "ssl_keyfile": config.key}
        self._config = config
        self._settings = uvicorn.Config(
            web,
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,  # a live stream would never end by itself
            server_header=False,
            **(tls if config.certificate else {}),  # type: ignore[arg-type]
        )
        self._http = _Http(self._settings)

    def end(self) -> None:
        """End after the requests at hand."""
        self._http.should_exit = True

    def run(self, inside: AbstractContextManager[object], name: str, otherwise: Callable[[], None]) -> None:
        """Answer until SIGTERM or Ctrl-C, while `inside` is entered; raise ServerError when the address is taken.

        otherwise: is called instead of entering `inside` when nobody can listen.
        """

        def end(number: int, frame: FrameType | None) -> None:
            self.end()

        # uvicorn raises the signal again once it has ended, for the handler that was there before: without one of ours
        # the process would die there, its rollouts unsigned and its database open.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        host, port = self._config.host, self._config.port
        # The address first: a second server must not take the first one's place at the broker before it finds out.
        try:
            listener = self._settings.bind_socket()
        except SystemExit as error:  # uvicorn's way to say that it could not
            otherwise()
            raise ServerError(f"could not listen on {host}:{port}: is another server running there?") from error
        with listener, inside:
            LOG.info("%s: %s://%s:%d", name, "https" if self._settings.is_ssl else "http", host, port)
            self._http.run(sockets=[listener])
