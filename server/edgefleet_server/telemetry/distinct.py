"""How many different devices, without keeping their names: HyperLogLog with 1024 registers, standard error 3.3 %.

Few devices are counted almost exactly (linear counting): up to about 100 the answer is off by one or two. Estimates of
parts merge to the estimate of the whole, which sums of "devices per hour" would not.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b

BITS = 10
REGISTERS: int = 2**BITS
ALPHA = 0.7213 / (1 + 1.079 / REGISTERS)

FEW, MANY = 1, 2
MOST_FEW = 150
Mark = tuple[int, int]
"""A register, and the rank that a device gives it."""


@lru_cache(maxsize=200_000)
def mark_of(device: str) -> Mark:
    """Return what a device leaves behind."""
    number = int.from_bytes(blake2b(device.encode(), digest_size=8).digest(), "big")
    rest = number >> BITS
    return number & (REGISTERS - 1), 64 - BITS - rest.bit_length() + 1


class Seen:
    """Devices that were seen: the highest rank by register. Few registers are kept one by one, many as the bytes of one number."""

    __slots__ = ("_ranks", "_whole")

    def __init__(self) -> None:
        self._ranks: dict[int, int] = {}
        self._whole = 0

    def add(self, mark: Mark) -> None:
        """Count the device that left `mark`; once, however often it comes."""
        self._take((mark,))

    def merge(self, other: "Seen") -> None:
        """Count the devices that another one has seen."""
        if other._whole:
            self._whole = _highest(self._whole, other._whole)
        if other._ranks:
            self._take(other._ranks.items())

    def merge_packed(self, data: bytes | None) -> None:
        """Count the devices of bytes from `packed`; nothing for None."""
        if not data:
            return
        if data[0] == FEW:
            pairs = zip(memoryview(data)[1::3], memoryview(data)[2::3], data[3::3], strict=True)
            self._take((low | high << 8, rank) for low, high, rank in pairs)
        else:
            registers = zlib.decompress(memoryview(data)[1:])
            self._whole = _highest(self._whole, int.from_bytes(registers, "little"))

    def _take(self, ranks: Iterable[Mark]) -> None:
        mine = self._ranks
        for place, rank in ranks:
            if rank > mine.get(place, 0):
                mine[place] = rank
        if len(mine) > MOST_FEW:
            self._whole, self._ranks = self._number(), {}

    def _number(self) -> int:
        """The registers as the bytes of a number, the first one lowest."""
        if not self._ranks:
            return self._whole
        every = bytearray(REGISTERS)
        for place, rank in self._ranks.items():
            every[place] = rank
        return _highest(self._whole, int.from_bytes(every, "little"))

    def packed(self) -> bytes:
        """Return it as bytes: three for a device while they are few, at most about 700. The same devices give the same bytes."""
        ranks: Mapping[int, int] = self._ranks
        if self._whole:
            every = self._number().to_bytes(REGISTERS, "little")
            if REGISTERS - every.count(0) > MOST_FEW:
                return bytes([MANY]) + zlib.compress(every, 1)
            ranks = {place: rank for place, rank in enumerate(every) if rank}
        return bytes([FEW]) + b"".join(bytes((p & 255, p >> 8, rank)) for p, rank in sorted(ranks.items()))

    def estimate(self) -> int:
        """Return about how many devices were seen."""
        if not self._whole:
            return _estimate(Counter(self._ranks.values()))
        return _estimate(Counter(self._number().to_bytes(REGISTERS, "little")))


def _estimate(ranks: Mapping[int, int]) -> int:
    """Return about how many devices it takes for so many registers of each rank; those that nobody reached are left out."""
    empty = REGISTERS - sum(count for rank, count in ranks.items() if rank)
    spread = empty + sum(math.ldexp(count, -rank) for rank, count in ranks.items() if rank)
    raw: float = ALPHA * REGISTERS**2 / spread
    if raw <= 2.5 * REGISTERS and empty:
        return round(REGISTERS * math.log(REGISTERS / empty))
    return round(raw)


_HIGH = int.from_bytes(b"\x80" * REGISTERS, "little")


def count_all(parts: Iterable[bytes | None]) -> int:
    """Return about how many devices are in many bytes from `packed`, each once."""
    seen = Seen()
    for data in parts:
        seen.merge_packed(data)
    return seen.estimate()


def _highest(one: int, other: int) -> int:
    """Return the higher of each two registers."""
    # Ranks stay below 128: a byte's highest bit is left where nothing was borrowed from it, and there `one` is not the lower.
    larger = ((one | _HIGH) - other) & _HIGH
    ours = (larger << 1) - (larger >> 7)
    return other ^ ((one ^ other) & ours)
