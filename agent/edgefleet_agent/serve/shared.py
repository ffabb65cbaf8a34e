"""System shared memory of the Open Inference Protocol: regions by name, each a part of a POSIX shared memory object.

Off unless the device's owner turns it on: whoever may ask the model could otherwise have it read and write objects of
others that its user may. An object is read and written by copying (`pread`, `pwrite`) and never mapped: its owner can make
it smaller at any time, which would end a process that has it mapped. The client's library has the way without a copy.

Regions are kept in an anonymous file that outlives the worker, so that a switch does not lose them.
"""

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .errors import Refused

FOLDER = Path("/dev/shm")
"""Where shm_open puts them; nothing is made here."""
MAX_REGIONS = 64
MAX_REGION_BYTES = 64 * 1024 * 1024
_KEY = re.compile(r"/?([A-Za-z0-9_.-]{1,200})")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """`byte_size` bytes from `offset` on of the object `key`."""

    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True)
class Part:
    """Bytes of a region that a tensor names."""

    name: str
    offset: int
    byte_size: int


class Regions:
    """The regions that are registered."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of the file that keeps them."""
        self._file = descriptor
        self._lock = threading.Lock()

    def all(self) -> dict[str, Region]:
        """Return each by name."""
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        try:
            return msgspec.json.decode(data, type=dict[str, Region]) if data else {}
        except msgspec.MsgspecError:
            return {}

    def register(self, name: str, asked: object) -> None:
        """Add one; raise Refused when the object cannot be had, or is shorter than that."""
        if _NAME.fullmatch(name) is None:
            raise Refused(400, f"{name[:100]!r} is no name of a region: use letters, digits and _.:-")
        try:
            region = msgspec.convert({"offset": 0, **asked} if isinstance(asked, dict) else asked, Region)
        except msgspec.ValidationError as error:
            raise Refused(400, f"a region needs key, offset and byte_size: {error}") from error
        if region.offset < 0 or not 0 < region.byte_size <= MAX_REGION_BYTES:
            raise Refused(400, f"a region may have 1 to {MAX_REGION_BYTES} bytes and got {region.byte_size}")
        with _open(region.key, os.O_RDWR) as file:
            if file.size < region.offset + region.byte_size:
                raise Refused(
                    400, f"{region.key} has {file.size} bytes and {region.offset + region.byte_size} were said"
                )
        with self._lock:
            regions = self.all()
            if name in regions and regions[name] != region:
                raise Refused(400, f"the region {name} is registered already: unregister it first")
            if len(regions) >= MAX_REGIONS and name not in regions:
                raise Refused(400, f"{MAX_REGIONS} regions are registered already: unregister some")
            self._write({**regions, name: region})

    def unregister(self, name: str | None) -> None:
        """Forget one, or all. One that is not there is forgotten already."""
        with self._lock:
            self._write({key: region for key, region in self.all().items() if name is not None and key != name})

    def read(self, part: Part) -> memoryview:
        """Return the bytes of `part`; raise Refused when they are not there."""
        region = self._find(part)
        with _open(region.key, os.O_RDONLY) as file:
            data = bytearray(part.byte_size)
            got = os.preadv(file.descriptor, [data], region.offset + part.offset)
        if got != part.byte_size:
            raise Refused(400, f"{region.key} became shorter: {got} bytes of {part.byte_size} are there")
        return memoryview(data)

    def write(self, part: Part, data: memoryview) -> None:
        """Write `data` to the beginning of `part`; raise Refused when it has no room there."""
        region = self._find(part)
        if len(data) > part.byte_size:
            raise Refused(400, f"the output has {len(data)} bytes and its part of {part.name} {part.byte_size}")
        with _open(region.key, os.O_RDWR) as file:
            # Writing beyond its end would make it longer.
            if file.size < region.offset + part.offset + len(data):
                raise Refused(400, f"{region.key} became shorter: it has {file.size} bytes")
            os.pwritev(file.descriptor, [data], region.offset + part.offset)

    def _find(self, part: Part) -> Region:
        region = self.all().get(part.name)
        if region is None:
            raise Refused(400, f"no region is called {part.name[:100]!r}: register it first")
        if part.offset + part.byte_size > region.byte_size:
            raise Refused(
                400, f"bytes {part.offset} to {part.offset + part.byte_size} are not within {part.name}, "
                f"which has {region.byte_size}")  # fmt: skip
        return region

    def _write(self, regions: dict[str, Region]) -> None:
        data = msgspec.json.encode(regions)
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))


def part_of(parameters: dict[str, object], what: str) -> Part | None:
    """Return the part of a region that a tensor's parameters name, or None when they name none; raise Refused."""
    name = parameters.get("shared_memory_region")
    if name is None:
        return None
    size, offset = parameters.get("shared_memory_byte_size"), parameters.get("shared_memory_offset", 0)
    numbers = [
        n for n in (size, offset) if isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_REGION_BYTES
    ]
    if not isinstance(name, str) or len(numbers) != 2:
        raise Refused(400, f"{what}: shared_memory_byte_size and shared_memory_offset must be numbers of bytes")
    return Part(name, numbers[1], numbers[0])


class _open:
    """An object of /dev/shm, open for a moment."""

    def __init__(self, key: str, flags: int) -> None:
        found = _KEY.fullmatch(key)
        if found is None or found[1] in (".", ".."):
            raise Refused(400, f"{key[:100]!r} is no key of shared memory: a slash, then letters, digits and _.-")
        try:
            self.descriptor = os.open(FOLDER / found[1], flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(
                400, f"{key} cannot be opened: {error.strerror}. Its owner must let the agent's user read and write it"
            ) from error
        info = os.fstat(self.descriptor)
        self.size = info.st_size
        if not stat.S_ISREG(info.st_mode):
            os.close(self.descriptor)
            raise Refused(400, f"{key} is no shared memory")

    def __enter__(self) -> "_open":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
