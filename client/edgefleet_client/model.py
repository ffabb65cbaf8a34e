"""A model that is served on this device."""

import http.client
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .connection import Answer, Connection, Lost
from .errors import BadInput, ModelFailed, ModelNotServed, NoAnswer
from .prediction import Array, Prediction
from .protocol import Json, error_of, fit, question, read

DEFAULT_RUN = "/run/edgefleet"
"""Where the agent's sockets lie unless EDGEFLEET_RUN says otherwise."""

RETRY_S = 0.1


class Model:
    """A model by its name. Keeps its connection; one prediction at a time, from any thread."""

    def __init__(
        self, name: str, *, url: str | None = None, socket: str | Path | None = None,
        timeout_s: float = 30.0, wait_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Say which model; nothing is sent yet.

        url: `http://127.0.0.1:PORT` instead of the Unix socket. socket: another path than RUN/<name>.sock.
        timeout_s: for each send or receive. wait_s: how long a model that is not (yet) served is waited for, as after a
        boot; 0 fails at once.
        """
        self.name = name
        target = url or str(socket or Path(os.environ.get("EDGEFLEET_RUN") or DEFAULT_RUN) / f"{name}.sock")
        self._connection = Connection(target, timeout_s)
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._metadata: Json | None = None
        self._release: str | None = None

    def predict(self, value: object | Mapping[str, object]) -> Prediction:
        """Return what the model says to `value`: an array for its only input, or arrays by input name.

        One sample may come without the dimension that counts samples. Raises BadInput, ModelNotServed, NoAnswer,
        ServerBusy or ModelFailed.
        """
        began = time.perf_counter()
        with self._lock:
            specs = {row["name"]: row for row in self._known()["inputs"]}
            body, headers = question(_arrays(value, specs), specs)
            answer = self._ask("POST", f"/v2/models/{self.name}/infer", body, headers)
            outputs, said = read(answer)
            release = str(said.get("release", ""))
            if release != self._release:
                # Another release answers: its labels are asked for anew.
                self._metadata, self._release = None, release
            labels = tuple(self._known().get("parameters", {}).get("labels", ()))
        return Prediction(
            outputs=outputs,
            release=release,
            variant=str(said.get("variant", "")),
            variant_sha256=str(said.get("variant_sha256", "")),
            seconds=time.perf_counter() - began,
            labels=labels,
        )

    def metadata(self) -> dict[str, Any]:
        """Return what the model takes and gives, as the Open Inference Protocol says it; asked anew each time."""
        with self._lock:
            self._metadata = None
            return dict(self._known())

    def ready(self) -> bool:
        """Return whether the model answers now."""
        with self._lock:
            try:
                return self._connection.exchange("GET", f"/v2/models/{self.name}/ready", None, {}).status == 200
            except (Lost, OSError, http.client.HTTPException):
                return False

    def close(self) -> None:
        """Close the connection; a later prediction opens it again."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> "Model":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _known(self) -> Json:
        if self._metadata is None:
            answer = self._ask("GET", f"/v2/models/{self.name}", None, {})
            try:
                known: Json = json.loads(answer.body)
                self._release = str(known.get("parameters", {}).get("release", ""))
            except (ValueError, AttributeError) as error:
                raise ModelFailed(f"the metadata of {self.name} is not readable: {error}") from error
            self._metadata = known
        return self._metadata

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Return an answer with status 200. Waits for a model that is not served yet, and sends a lost request again."""
        end = time.monotonic() + self._wait_s
        while True:
            try:
                answer = self._once_more(method, path, body, headers)
            except TimeoutError as error:
                raise NoAnswer(
                    f"{self._connection.target} took the request and gave no answer within {self._timeout_s:.0f} s"
                ) from error
            except http.client.HTTPException as error:
                raise ModelFailed(
                    f"the connection to {self._connection.target} broke within an answer: {error!r}"
                ) from error
            except (Lost, OSError) as error:
                if time.monotonic() >= end:
                    raise ModelNotServed(
                        f"nothing serves {self.name} at {self._connection.target} ({error or type(error).__name__}). "
                        "Does the agent run, and has it activated a release? See: edgefleet agent status"
                    ) from error
                time.sleep(RETRY_S)
                continue
            if answer.status == 200:
                return answer
            raise error_of(answer)

    def _once_more(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send; when the kept connection turns out closed before any byte of the answer, once more on a new one.

        Inference changes nothing, so asking twice does no harm.
        """
        try:
            return self._connection.exchange(method, path, body, headers)
        except Lost:
            return self._connection.exchange(method, path, body, headers)


def _arrays(value: object, specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Array]:
    if isinstance(value, Mapping):
        given = {str(name): each for name, each in value.items()}
    elif len(specs) == 1:
        given = {next(iter(specs)): value}
    else:
        raise BadInput(f"the model takes {', '.join(specs)}: hand over a mapping of these")
    if set(given) != set(specs):
        raise BadInput(f"the model takes {', '.join(specs)} and got {', '.join(given) or 'nothing'}")
    return {name: fit(given[name], spec) for name, spec in specs.items()}
