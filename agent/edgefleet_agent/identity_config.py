"""What an identity brings to the configuration: `agent.toml` then needs none of it, and what it says counts first."""

from pathlib import Path
from typing import Any

from .errors import BadIdentity
from .identity import CA, FOLDER, ROOT, Pair, read_enrolment


def with_identity(data: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return `data`, a configuration as TOML gives it, with what the identity below its state folder brings.

    base: absolute; what relative paths are relative to. Raises BadIdentity for one that cannot be read, or that is
    another device's than `data` says.
    """
    state = data.get("state", "state")
    if not isinstance(state, str):
        return data  # a wrong type, which is told of as every other
    folder = base / state / FOLDER
    told = read_enrolment(folder)
    if told is None:
        return data
    for name, ours in (("device", told.device), ("fleet", told.fleet)):
        if data.get(name, ours) != ours:
            raise BadIdentity(
                f"{name} is {data[name]!r}, and the identity in {folder} is of {name} {ours!r}: remove the line, or move "
                "the folder away and enrol anew"
            )
    said = data.get("broker", {})
    if not isinstance(said, dict):
        return data
    broker = {"host": told.broker.host, "port": told.broker.port, "ca": str(folder / CA), **said}
    if "certificate" not in said and "key" not in said:
        pair = Pair.within(folder)
        broker |= {"certificate": str(pair.certificate), "key": str(pair.key)}
    return {"root": str(folder / ROOT), **data, "device": told.device, "fleet": told.fleet, "broker": broker}
