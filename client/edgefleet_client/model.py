"""A model that is served on this device."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from .connection import Answer, Broken, Connection, Lost, Piece
from .errors import BadInput, ModelFailed, ModelNotServed, NoAnswer, ServerBusy, TooLate
from .frames import Frames, Unavailable
from .prediction import Array, Prediction
from .protocol import Check, Json, check_values, contract, error_for, fit, question, read, specs_of

DEFAULT_RUN = "/run/edgefleet"
"""Where the agent's sockets lie unless EDGEFLEET_RUN says otherwise."""

RETRY_S = 0.1

DoorName = Literal["auto", "memfd", "rest"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Change:
    """Another model answers than before."""

    release: str
    variant: str
    before: str
    """The release that answered before."""
    variant_before: str


class Model:
    """A model by its name. Keeps its connection; one prediction at a time, from any thread."""

    def __init__(
        self, name: str, *, url: str | None = None, socket: str | Path | None = None,
        timeout_s: float = 30.0, wait_s: float = 0.0, check: Check = "finite", door: DoorName = "auto",
        on_change: Callable[[Change], None] | None = None,
    ) -> None:  # fmt: skip
        """Say which model; nothing is sent yet.

        url: `http://127.0.0.1:PORT` instead of the Unix socket. socket: another path than RUN/<name>.sock.
        timeout_s: for each send or receive. wait_s: how long a model that is not (yet) served is waited for, as after a
        boot; 0 fails at once. check: what is looked for in every input before it is sent: `finite`, NaN and infinity
        (some 50 µs for a picture of 224 by 224); `range`, also values outside the range that the release names; `off`,
        nothing. door: `auto` hands frames over in memory where agent and system can (`memfd`), and sends them by REST
        where not; the two other words want one of them. on_change: called after the first prediction that another
        release or variant answers than the one before, on the thread that asked.
        """
        if door not in ("auto", "memfd", "rest"):
            raise ValueError(f"door is {door!r} and must be auto, memfd or rest")
        if check not in ("off", "finite", "range"):
            raise ValueError(f"check is {check!r} and must be off, finite or range")
        self.name = name
        target = url or str(socket or Path(os.environ.get("EDGEFLEET_RUN") or DEFAULT_RUN) / f"{name}.sock")
        self._connection = Connection(target, timeout_s)
        if door == "memfd" and not self._connection.is_unix:
            raise ValueError("door is memfd, which needs the Unix socket, not a url")
        self._frames = Frames(self._connection, name) if door != "rest" and self._connection.is_unix else None
        self._only_frames = door == "memfd"
        self._no_frames_for: str | None = None
        self._on_change = on_change
        self._answered: tuple[str, str] | None = None
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._check: Check = check
        self._lock = threading.Lock()
        self._metadata: Json | None = None
        self._specs: dict[str, Json] = {}
        self._release: str | None = None

    def predict(
        self, value: object | Mapping[str, object], *, cast: bool = False, deadline_ms: float | None = None
    ) -> Prediction:
        """Return what the model says to `value`: an array for its only input, or arrays by input name.

        One sample may come without the dimension that counts samples. cast: convert numbers of another kind as they
        are, such as the bytes of a picture for an input from 0 to 1, which is else refused. deadline_ms: from now; an
        answer later than that is of no use, so it raises TooLate then, and the device drops the request unless it
        is computed already. Raises BadInput, ModelNotServed, NoAnswer, ServerBusy, NotAllowed or ModelFailed.
        """
        began = time.perf_counter()
        end = None if deadline_ms is None else time.monotonic() + deadline_ms / 1e3
        with self._lock:
            known = self._known(end)
            specs = self._specs
            arrays = _arrays(value, specs, cast)
            outputs, said = self._infer(arrays, specs, end)
            release, variant = str(said.get("release", "")), str(said.get("variant", ""))
            if release != self._release:
                # Another release answers: its labels are asked for anew.
                self._metadata, self._release = None, release
                known = self._known(end)
            names = tuple(known.get("parameters", {}).get("labels", ()))
            task = str(contract(known).get("task") or "classification")
            before, self._answered = self._answered, (release, variant)
        prediction = Prediction(
            outputs=outputs,
            release=release,
            variant=variant,
            variant_sha256=str(said.get("variant_sha256", "")),
            seconds=time.perf_counter() - began,
            names=names,
            task=task,
        )
        if self._on_change is not None and before is not None and before != (release, variant):
            self._on_change(Change(release, variant, *before))
        return prediction

    def metadata(self) -> dict[str, Any]:
        """Return what the model takes and gives, as the Open Inference Protocol says it; asked anew each time.

        `parameters` has what the release adds: `release`, `variant`, `labels`, and `interface` with `task`, `thresholds`,
        `inputs` (by name: `layout`, `colour`, `range`, `resize`) and `outputs` (by name: `meaning`).
        """
        with self._lock:
            self._metadata = None
            return dict(self._known(None))

    def ready(self) -> bool:
        """Return whether the model answers now."""
        with self._lock:
            try:
                return self._connection.exchange("GET", f"/v2/models/{self.name}/ready").status == 200
            except (Lost, Broken, OSError):
                return False

    def close(self) -> None:
        """Close the connection; a later prediction opens it again."""
        with self._lock:
            self._connection.close()
            if self._frames is not None:
                self._frames.close()

    def __enter__(self) -> "Model":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _known(self, end: float | None) -> Json:
        if self._metadata is None:
            answer = self._persist(lambda left: self._exchange("GET", f"/v2/models/{self.name}", (), {}, left), end)
            try:
                known: Json = json.loads(bytes(answer.body))
                self._release = str(known.get("parameters", {}).get("release", ""))
            except (ValueError, AttributeError) as error:
                raise ModelFailed(f"the metadata of {self.name} is not readable: {error}") from error
            self._metadata, self._specs = known, specs_of(known)
        return self._metadata

    def _infer(
        self, arrays: Mapping[str, Array], specs: Mapping[str, Mapping[str, Any]], end: float | None
    ) -> tuple[dict[str, Array], Json]:
        """Return the outputs and who answered, by frames in memory where that goes."""
        frames = self._frames

        def check() -> None:
            if self._check != "off":
                for name, array in arrays.items():
                    check_values(array, specs[name], self._check)

        # Whether there is the short way is asked again of another release: its agent may be another one too.
        if frames is not None and (self._only_frames or self._no_frames_for != self._release):
            rows: list[Json] = (self._metadata or {}).get("outputs", [])
            with contextlib.suppress(Unavailable):
                try:
                    return self._persist(lambda left: frames.ask(arrays, rows, left, _left(end), check), end)
                except Unavailable as error:
                    if self._only_frames:
                        raise ModelFailed(f"there is no way by files in memory to {self.name}: {error}") from error
                    self._no_frames_for = self._release
                    raise
                except ServerBusy:
                    # All memory for frames may be taken; a request by REST needs it for a moment only.
                    if self._only_frames or not frames.unattached:
                        raise

        check()

        def ask(left_s: float) -> Answer:
            left = _left(end)
            body, headers = question(arrays, specs, None if left is None else max(0.001, left * 1e3))
            return self._exchange("POST", f"/v2/models/{self.name}/infer", body, headers, left_s)

        return read(self._persist(ask, end))

    def _exchange(
        self, method: str, path: str, body: "list[Piece] | tuple[()]", headers: dict[str, str], timeout_s: float
    ) -> Answer:
        answer = self._connection.exchange(method, path, body, headers, timeout_s)
        if answer.status != 200:
            raise error_for(answer.status, answer.body)
        return answer

    def _persist(self, ask: Callable[[float], _T], end: float | None) -> _T:
        """Return what `ask`, given how long it may take, returns. Waits for a model that is not served yet, and asks once
        more where a kept connection turned out closed before any byte of the answer: inference changes nothing."""
        patience_end = time.monotonic() + self._wait_s
        target, again = self._connection.target, True
        while True:
            left = _left(end)
            if left is not None and left <= 0:
                raise TooLate(f"{target} gave no answer before the deadline")
            try:
                return ask(self._timeout_s if left is None else min(left, self._timeout_s))
            except TimeoutError as error:
                if left is not None and left <= self._timeout_s:
                    raise TooLate(f"{target} gave no answer before the deadline") from error
                raise NoAnswer(
                    f"{target} took the request and gave no answer within {self._timeout_s:.0f} s"
                ) from error
            except Broken as error:
                raise ModelFailed(f"the connection to {target} broke within an answer: {error}") from error
            except (Lost, OSError) as error:
                if isinstance(error, Lost) and again:
                    again = False
                    continue
                if time.monotonic() >= patience_end:
                    raise ModelNotServed(
                        f"nothing serves {self.name} at {target} ({error or type(error).__name__}). "
                        "Does the agent run, and has it activated a release? See: edgefleet agent status"
                    ) from error
                time.sleep(RETRY_S if left is None else min(RETRY_S, left))


def _left(end: float | None) -> float | None:
    return None if end is None else end - time.monotonic()


def _arrays(value: object, specs: Mapping[str, Mapping[str, Any]], cast: bool) -> dict[str, Array]:
    if isinstance(value, Mapping):
        given = {str(name): each for name, each in value.items()}
    elif len(specs) == 1:
        given = {next(iter(specs)): value}
    else:
        raise BadInput(f"the model takes {', '.join(specs)}: hand over a mapping of these")
    if set(given) != set(specs):
        raise BadInput(f"the model takes {', '.join(specs)} and got {', '.join(given) or 'nothing'}")
    return {name: fit(given[name], spec, cast=cast, check="off") for name, spec in specs.items()}
