"""A POST that carries an `Idempotency-Key` is done once, however often a shaky line makes its sender repeat it.

The same key with the same request gets the first answer, marked `Idempotency-Replayed: true`; with another request it is a
conflict. Keys belong to whoever asks, and are kept for a day. What failed by a fault of the server, or was refused because
nobody knew who asked, was not done: its key is free again.
"""

import hashlib
import logging
import re
import zlib

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import NoToken
from ..seams import Clock
from ..store import answers
from ..store.database import Database, Unavailable
from .actor import actor_of
from .door import Door
from .problems import RETRY_AFTER_S, problem

LOG = logging.getLogger(__name__)
HEADER = "idempotency-key"
KEPT_S = 86400.0
MOST_BYTES = 1_000_000
"""Of one answer, packed. A larger one is done once too, and not repeated."""
FORM = re.compile(r"[!-~]{1,255}")


class Idempotent:
    """Stands before the routes."""

    def __init__(self, app: ASGIApp, door: Door, database: Database, clock: Clock) -> None:
        self._app, self._door, self._database, self._clock = app, door, database, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/v1/"):
            headers = Headers(scope=scope)
            if (key := headers.get(HEADER)) is not None:
                await self._once(scope, receive, send, headers, key)
                return
        await self._app(scope, receive, send)

    async def _once(self, scope: Scope, receive: Receive, send: Send, headers: Headers, key: str) -> None:
        if not FORM.fullmatch(key):
            said = f"{HEADER} is {key[:40]!r}: write 1 to 255 visible ASCII characters, as a UUID"
            await problem(422, said)(scope, receive, send)
            return
        try:
            actor = (await run_in_threadpool(actor_of, self._door, headers)).name
        except NoToken:
            await self._app(scope, receive, send)  # it is refused there, in the words of every route
            return
        body = await Request(scope, receive).body()
        digest = digest_of(scope["path"], scope["query_string"], body)
        try:
            known = await run_in_threadpool(self._claim, actor, key, digest)
        except Unavailable as error:
            self._database.outage.met("requests", error)
            answer = problem(503, f"the database cannot do it now: {error.orig}")
            answer.headers["Retry-After"] = RETRY_AFTER_S
            await answer(scope, receive, send)
            return
        if known is None:
            await self._first(scope, _replay(body, receive), send, actor, key)
        else:
            await self._again(known, digest, key)(scope, receive, send)

    def _claim(self, actor: str, key: str, digest: str) -> answers.Answer | None:
        """Take the key; return what is known of it already, or None when it is ours now."""
        now = self._clock.now()
        with self._database.write() as connection:
            answers.prune(connection, now - KEPT_S)
            if answers.claim(connection, actor, key, digest, now):
                return None
            return answers.find(connection, actor, key)

    def _again(self, known: answers.Answer, digest: str, key: str) -> ASGIApp:
        if known.digest != digest:
            return problem(
                409,
                f"the key {key} was used for another request {self._clock.now() - known.at_s:.0f} s ago",
                kind="key-reused",
                next="send a new request with a new key",
            )
        if known.status is None:
            answer = problem(
                409,
                f"the request with the key {key} began {self._clock.now() - known.at_s:.0f} s ago and has not ended",
                kind="in-progress",
                next="wait and send it again; after a minute look whether it was done, and if not, use a new key",
            )
            answer.headers["Retry-After"] = "1"
            return answer
        if not known.body:
            return problem(
                409,
                f"the request with the key {key} was done, and its answer was too large to keep",
                kind="answer-not-kept",
                next="ask for what it made",
            )
        return _stored(known)

    async def _first(self, scope: Scope, receive: Receive, send: Send, actor: str, key: str) -> None:
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        try:
            await self._app(scope, receive, hold)
            status, kind, body = _whole(held)
        except BaseException:
            await run_in_threadpool(self._end, actor, key, 500, "", b"")
            raise
        # Before it is sent: whoever has the answer may rely on the key.
        await run_in_threadpool(self._end, actor, key, status, kind, body)
        for message in held:
            await send(message)

    def _end(self, actor: str, key: str, status: int, kind: str, body: bytes) -> None:
        packed = zlib.compress(body, 1)
        try:
            with self._database.write() as connection:
                if status >= 500 or status in (401, 429):
                    answers.free(connection, actor, key)
                else:
                    answers.keep(connection, actor, key, status, kind, packed if len(packed) <= MOST_BYTES else b"")
        except Unavailable as error:  # it was done, and its sender is told so; sent again it is said to be at work
            self._database.outage.met("answers to keep", error)


def digest_of(path: str, query: bytes, body: bytes) -> str:
    """Return what two requests share that are the same."""
    parts = (path.encode(), query, body)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _stored(known: answers.Answer) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        body = zlib.decompress(known.body)
        headers = [
            (b"content-type", known.kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"idempotency-replayed", b"true"),
        ]
        await send({"type": "http.response.start", "status": known.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _whole(held: list[Message]) -> tuple[int, str, bytes]:
    start = next(message for message in held if message["type"] == "http.response.start")
    kind = Headers(raw=start["headers"]).get("content-type", "application/json")
    parts = (message.get("body", b"") for message in held if message["type"] == "http.response.body")
    return start["status"], kind, b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
