"""Frames in memory: a client hands a sealed file over, and nothing that it does to it ends the worker."""

import array
import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefleet_agent.serve.frames import ALIGNMENT, ANSWER, ATTACH, BELL, LAST, MAX_JSON, PROTOCOL, RUN
from edgefleet_agent.serve.launcher import ProcessLauncher
from tests.fakes.served import CLASSES, FEATURES, ready, until, write_model

SHRINK, ADD_SEALS = 2, 1033  # linux/fcntl.h; not named by every Python
SIZE = 4096
OUT = 1024
IMAGE = struct.pack(f"<{FEATURES}f", *[0.25 * i for i in range(FEATURES)])


class Served:
    """A worker and its socket."""

    def __init__(self, launcher: ProcessLauncher, folder: Path) -> None:
        self.worker = launcher.start(write_model(folder))
        ready(self.worker)
        self.worker.accept()
        self.path = launcher.socket_path("fashion")

    def connect(self, path: str = "/v2/models/fashion/frames") -> socket.socket:
        """Return a connection that was asked to carry bells."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(self.path))
        sock.sendall(f"GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n".encode())
        return sock

    def open(self) -> socket.socket:
        """Return a connection that carries bells."""
        sock = self.connect()
        assert sock.recv(1000).startswith(b"HTTP/1.1 101 ")
        return sock

    def alive(self) -> bool:
        """Whether it still answers a good question."""
        with self.open() as sock, memfd() as file:
            status, _ = ring(sock, ATTACH, layout(), [file])
            return status == 200 and ring(sock, RUN)[0] == 200


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One worker for all tests: none may disturb the next."""
    folder = tmp_path_factory.mktemp("frames")
    launcher = ProcessLauncher(folder / "run")
    found = Served(launcher, folder)
    yield found
    assert found.alive() and found.worker.poll() == "ready"
    launcher.close()


@contextlib.contextmanager
def memfd(size: int = SIZE, *, seals: int = SHRINK, flags: int = 0) -> Iterator[int]:
    """Yield a file in memory that begins with IMAGE."""
    file = os.memfd_create("frame", 2 | flags)
    try:
        os.ftruncate(file, size)
        if not flags:
            os.pwrite(file, IMAGE, 0)
        fcntl.fcntl(file, ADD_SEALS, seals)
        yield file
    finally:
        os.close(file)


def layout(**changes: object) -> bytes:
    """Return what a good client attaches, changed."""
    row = {"name": "image", "datatype": "FP32", "shape": [1, FEATURES], "offset": 0}
    for key in [key for key in changes if key in row]:
        row[key] = changes.pop(key)  # type: ignore[assignment]
    return json.dumps({"bytes": SIZE, "inputs": [row], "outputs_at": OUT, **changes}).encode()


def ring(
    sock: socket.socket, kind: int, words: bytes = b"", files: list[int] | None = None, deadline_us: int = 0
) -> tuple[int, Any]:
    """Ring and return status and JSON of the answer; the status is 0 when the connection closed instead."""
    bell = BELL.pack(kind, 0, 7, deadline_us, len(words)) + words
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    sock.sendmsg([bell], rights)
    return hear(sock)


def hear(sock: socket.socket) -> tuple[int, Any]:
    """Return the next answer."""
    head = read(sock, BELL.size)
    if not head:
        return 0, None
    kind, status, number, _, length = BELL.unpack(head)
    assert kind in (ANSWER, LAST) and number == 7
    return status, json.loads(read(sock, length) or b"null")


def read(sock: socket.socket, length: int) -> bytes:
    """Return so many bytes, or none when it closed."""
    data = b""
    while len(data) < length:
        with contextlib.suppress(ConnectionResetError):
            if part := sock.recv(length - len(data)):
                data += part
                continue
        return b""
    return data


def test_a_frame_is_answered_where_it_lies_and_places_are_told_once(served: Served) -> None:
    with served.open() as sock, memfd() as file:
        status, who = ring(sock, ATTACH, layout(), [file])
        assert status == 200 and who["release"] == "fashion/1" and who["variant"] == "small" and "variant_sha256" in who
        status, said = ring(sock, RUN)
        assert status == 200
        assert said == {"outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, CLASSES], "offset": OUT}]}
        first = os.pread(file, 4 * CLASSES, OUT)
        assert any(first)
        os.pwrite(file, bytes(len(IMAGE)), 0)
        assert ring(sock, RUN) == (200, None)
        assert os.pread(file, 4 * CLASSES, OUT) not in (first, bytes(4 * CLASSES))
    assert served.worker.served().requests >= 2


def test_frames_are_refused_elsewhere_and_by_an_unknown_name(served: Served) -> None:
    for path in ("/v2/models/other/frames", "/v2/models/fashion/elsewhere"):
        with served.connect(path) as sock:
            assert sock.recv(1000).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (layout(bytes=SIZE + 1), "4096 bytes and 4097 were said"),
        (layout(bytes=0), "1 to"),
        (layout(bytes=2**33), "1 to"),
        (layout(bytes=-1), "whole number"),
        (layout(bytes=True), "whole number"),
        (layout(offset=4), "multiple of 64"),
        (layout(offset=SIZE), "ends at byte"),
        (layout(offset=2**39), "ends at byte"),
        (layout(shape=[2**31 - 1, FEATURES]), "ends at byte"),
        (layout(shape=[1, 3]), "must be [-1, 12]"),
        (layout(datatype="FP64"), "must be FP32"),
        (layout(name="other"), "unexpected input"),
        (layout(inputs=[]), "missing input image"),
        (layout(inputs=7), "no list of inputs"),
        (layout(outputs_at=3), "multiple of 64"),
        (layout(outputs_at=None), "whole number"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"[" * 5000, "not JSON"),
    ],
)  # fmt: skip
def test_a_layout_that_does_not_fit_is_refused_with_the_reason(served: Served, words: bytes, reason: str) -> None:
    with served.open() as sock, memfd() as file:
        status, said = ring(sock, ATTACH, words, [file])
        assert status in (400, 413) and reason in said["error"]
        assert ring(sock, RUN)[0] == 400  # nothing is attached
        assert ring(sock, ATTACH, layout(), [file])[0] == 200


def strangers(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield descriptors that are no memfd of ours to read."""
    plain = folder / "plain"
    plain.write_bytes(bytes(SIZE))
    yield "a file", os.open(plain, os.O_RDWR)
    yield "a folder", os.open(folder, os.O_RDONLY)
    yield "zeros", os.open("/dev/zero", os.O_RDWR)
    yield "a pipe", os.pipe()[0]
    yield "a socket", socket.socket().detach()
    yield "a file of tmpfs", _tmpfs()
    unsealed = os.memfd_create("unsealed", 2)
    os.ftruncate(unsealed, SIZE)
    yield "an unsealed memfd", unsealed
    unsealable = os.memfd_create("unsealable", 0)
    os.ftruncate(unsealable, SIZE)
    yield "a memfd that cannot be sealed", unsealable
    read_only = os.memfd_create("read", 2)
    os.ftruncate(read_only, SIZE)
    fcntl.fcntl(read_only, ADD_SEALS, SHRINK | 8)  # F_SEAL_WRITE
    yield "a memfd that nobody may write", read_only
    secret = ctypes.CDLL(None).syscall(447, 0)  # memfd_secret, where the kernel has it
    if secret >= 0:
        os.ftruncate(secret, SIZE)
        yield "a secret", secret
    with contextlib.suppress(OSError):
        huge = os.memfd_create("huge", 2 | 4)  # MFD_HUGETLB
        os.ftruncate(huge, 2 * 1024 * 1024)
        fcntl.fcntl(huge, ADD_SEALS, SHRINK)
        yield "huge pages", huge


def _tmpfs() -> int:
    file, name = tempfile.mkstemp(dir="/dev/shm")
    Path(name).unlink()
    os.ftruncate(file, SIZE)
    return file


def test_what_is_no_sealed_memfd_is_refused(served: Served, tmp_path: Path) -> None:
    with served.open() as sock:
        for what, stranger in strangers(tmp_path):
            status, said = ring(sock, ATTACH, layout(), [stranger])
            assert status == 400 and "memfd" in said["error"], what
            os.close(stranger)
        assert ring(sock, ATTACH, layout())[1]["error"].startswith("0 files came")
        with memfd() as one, memfd() as two:
            assert ring(sock, ATTACH, layout(), [one, two])[0] in (200, 400)
        with memfd() as file:
            assert ring(sock, ATTACH, layout(), [file])[0] == 200 and ring(sock, RUN)[0] == 200


def test_a_client_that_truncates_punches_and_scribbles_while_it_is_answered_harms_nobody(served: Served) -> None:
    with served.open() as sock, memfd() as file:
        assert ring(sock, ATTACH, layout(), [file])[0] == 200
        with pytest.raises(OSError):
            os.ftruncate(file, 0)
        ending = threading.Event()
        libc = ctypes.CDLL(None, use_errno=True)

        def spoil() -> None:
            with mmap.mmap(file, SIZE) as view:
                while not ending.is_set():
                    view[:SIZE] = os.urandom(SIZE)
                    # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                    libc.fallocate(file, 3, ctypes.c_long(0), ctypes.c_long(SIZE))
                    with contextlib.suppress(OSError):
                        os.ftruncate(file, 0)

        spoiler = threading.Thread(target=spoil)
        spoiler.start()
        assert all(ring(sock, RUN)[0] == 200 for _ in range(200))
        ending.set()
        spoiler.join()
    assert served.alive()


def test_a_huge_sparse_file_takes_only_what_is_said_of_it_and_all_together_are_bounded(served: Served) -> None:
    with contextlib.ExitStack() as opened, memfd(2**40) as file:
        last = 200
        said: Any = None
        for _ in range(4):
            sock = opened.enter_context(served.open())
            last, said = ring(sock, ATTACH, layout(bytes=40 * 1024 * 1024), [file])
        assert last == 503 and "memory" in said["error"]
    until(lambda: served.alive(), "what is closed is given back")


def test_outputs_that_have_no_room_say_how_much_they_need(served: Served) -> None:
    with served.open() as sock, memfd() as file:
        assert ring(sock, ATTACH, layout(outputs_at=SIZE), [file])[0] == 200
        status, said = ring(sock, RUN)
        assert status == 413 and said["needs"] == SIZE + ALIGNMENT


def test_a_bell_that_is_none_ends_the_connection_with_a_reason(served: Served) -> None:
    for kind, words in ((0, b""), (9, b"{}"), (RUN, b"{}")):
        with served.open() as sock:
            status, said = ring(sock, kind, words)
            assert status == 400 and "none that is known" in said["error"]
            assert hear(sock)[0] == 0
    with served.open() as sock:
        sock.sendall(BELL.pack(ATTACH, 0, 7, 0, MAX_JSON + 1))
        assert hear(sock)[0] == 413 and hear(sock)[0] == 0


def test_what_is_already_too_late_is_dropped_and_is_no_error_of_the_model(served: Served) -> None:
    with served.open() as sock, memfd() as file:
        assert ring(sock, ATTACH, layout(), [file])[0] == 200
        served.worker.served()
        assert {ring(sock, RUN, deadline_us=1)[0] for _ in range(20)} <= {200, 504}
        assert served.worker.served().errors == 0


def test_descriptors_that_a_client_floods_are_closed(served: Served) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{served.worker.pid}/fd").iterdir()))

    before = descriptors()
    with served.open() as sock, memfd() as file:
        words = b'{"x":"' + b"a" * 600 + b'"}'
        sock.sendall(BELL.pack(ATTACH, 0, 7, 0, len(words)))
        for byte in words:
            sock.sendmsg([bytes([byte])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file] * 8))])
        assert hear(sock)[0] == 400
        assert descriptors() <= before + 3
    assert served.alive()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bells=st.lists(
        st.tuples(
            st.integers(0, 5) | st.integers(0, 65535), st.binary(max_size=80), st.booleans(), st.integers(0, 2**32 - 1)
        ),
        max_size=4,
    ),
    tail=st.binary(max_size=40),
)
def test_any_bells_are_answered_or_end_the_connection(
    served: Served, bells: list[tuple[int, bytes, bool, int]], tail: bytes
) -> None:
    with served.open() as sock, memfd() as file:
        for kind, words, lie, number in bells:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            with contextlib.suppress(OSError):
                sock.sendmsg([BELL.pack(kind, 0, number, 0, number if lie else len(words)) + words], rights)
        with contextlib.suppress(OSError):
            sock.sendall(tail)
            sock.shutdown(socket.SHUT_WR)
        while head := read(sock, BELL.size):
            _, status, _, _, length = BELL.unpack(head)
            assert status in (200, 400, 413)
            read(sock, length)
    assert served.worker.poll() == "ready"
