"""The walls: who may import what. The rules are the data at the top; the rest walks every import of the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "protocol": set(),
    "agent": {"protocol"},
    "compress": {"protocol"},
    "trust": {"protocol"},
    "server": {"protocol", "trust"},
    "client": set(),
    "sim": {"protocol", "agent", "trust", "server"},
    "edgefleet": set(),
}
"""Room -> the other rooms that it may import."""

PURE = (
    "protocol/edgefleet_protocol/*.py",
    "agent/edgefleet_agent/decide.py",
    "agent/edgefleet_agent/steps.py",
    "agent/edgefleet_agent/conditions.py",
    "agent/edgefleet_agent/hands/measured.py",
    "agent/edgefleet_agent/hints.py",
    "agent/edgefleet_agent/rules/*.py",
    "agent/edgefleet_agent/serve/boxes.py",
    "agent/edgefleet_agent/serve/providers.py",
    "agent/edgefleet_agent/slots.py",
    "agent/edgefleet_agent/state_size.py",
    "agent/edgefleet_agent/tuning.py",
    "server/edgefleet_server/alerts/facts.py",
    "server/edgefleet_server/alerts/findings.py",
    "server/edgefleet_server/alerts/judge.py",
    "server/edgefleet_server/alerts/rules.py",
    "server/edgefleet_server/alerts/words.py",
    "server/edgefleet_server/metrics/text.py",
    "server/edgefleet_server/rollouts/agreement.py",
    "server/edgefleet_server/groups/query.py",
    "server/edgefleet_server/regions/residency.py",
    "server/edgefleet_server/regions/settings.py",
    "server/edgefleet_server/rollouts/apart.py",
    "server/edgefleet_server/rollouts/compare.py",
    "server/edgefleet_server/rollouts/decide.py",
    "server/edgefleet_server/rollouts/documents.py",
    "server/edgefleet_server/rollouts/emptiness.py",
    "server/edgefleet_server/rollouts/evidence.py",
    "server/edgefleet_server/rollouts/gates.py",
    "server/edgefleet_server/rollouts/late.py",
    "server/edgefleet_server/rollouts/learning.py",
    "server/edgefleet_server/rollouts/orders.py",
    "server/edgefleet_server/rollouts/pairs.py",
    "server/edgefleet_server/rollouts/plan.py",
    "server/edgefleet_server/rollouts/plan_digest.py",
    "server/edgefleet_server/rollouts/plan_view.py",
    "server/edgefleet_server/rollouts/predict.py",
    "server/edgefleet_server/rollouts/sequential.py",
    "server/edgefleet_server/rollouts/spreads.py",
    "server/edgefleet_server/rollouts/taking.py",
    "server/edgefleet_server/rollouts/waves.py",
    "server/edgefleet_server/rollouts/words.py",
    "server/edgefleet_server/broker/limits.py",
    "server/edgefleet_server/publish/needs.py",
    "server/edgefleet_server/publish/picks.py",
    "server/edgefleet_server/publish/wanted.py",
    "server/edgefleet_server/ingest/freshness.py",
    "server/edgefleet_server/ingest/lineage.py",
    "server/edgefleet_server/identity/refusal.py",
    "server/edgefleet_server/identity/words.py",
    "server/edgefleet_server/demo/expectations.py",
    "server/edgefleet_server/telemetry/*.py",
    "server/edgefleet_server/keeping.py",
    "server/edgefleet_server/misfit.py",
    "server/edgefleet_server/export/columns.py",
    "server/edgefleet_server/export/residency.py",
    "server/edgefleet_server/views/telemetry_groups.py",
    "server/edgefleet_server/views/telemetry_device.py",
    "server/edgefleet_server/client/telemetry.py",
)
"""Modules that look at nothing but their arguments. Those that do not exist yet are held to it as soon as they do.
From a sibling that is not pure they may take records (names with a capital letter), and no functions."""

PURE_MAY_IMPORT = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum",
    "fractions", "functools", "hashlib", "itertools", "json", "math", "operator", "re", "statistics", "string", "struct",
    "types", "typing", "zlib",
    "urllib.parse",
    "backports.zstd", "msgspec",
}  # fmt: skip
"""So none of os, time, socket, sqlite3, threading, random, pathlib, paho, torch, tuf, cryptography, ..."""

PURE_NAMES = {"open", "input", "print", "exec", "eval", "__import__"}
"""Built-in functions that reach out of a module without an import."""

PURE_CALLS = {"now", "utcnow", "today"}
"""`datetime.now()`: a clock in the clothes of an allowed module."""

ONLY_IN = {
    "paho": ("agent/edgefleet_agent/link/*.py", "server/edgefleet_server/link/*.py"),
    "iotcore": ("server/edgefleet_server/*.py",),
    "onnxruntime": ("agent/edgefleet_agent/serve/runtime_onnx.py", "compress/edgefleet_compress/*.py",
                    "trust/edgefleet_trust/golden_child.py"),
    "onnx": ("compress/edgefleet_compress/*.py",),
    "torch": ("compress/edgefleet_compress/*.py",),
    "torch_pruning": ("compress/edgefleet_compress/*.py",),
    "psutil": ("agent/edgefleet_agent/hardware/sensors.py",),
    "tuf": ("agent/edgefleet_agent/look*.py", "trust/edgefleet_trust/*.py"),
    "securesystemslib": ("agent/edgefleet_agent/*.py", "trust/edgefleet_trust/*.py"),
    "cryptography": (
        "agent/edgefleet_agent/*.py",
        "trust/edgefleet_trust/*.py",
        "server/edgefleet_server/broker/crl.py",
        "server/edgefleet_server/identity/*.py",
        "server/edgefleet_server/ingest/signed.py",
    ),
    "msgspec": ("protocol/*.py", "agent/*.py", "compress/*.py", "trust/*.py", "server/*.py", "sim/*.py"),
    "sqlalchemy": ("server/edgefleet_server/store/*.py",),
    "pyarrow": ("server/edgefleet_server/export/parquet.py",),
    "alembic": ("server/edgefleet_server/store/*.py",),
    "psycopg": ("server/edgefleet_server/store/*.py",),
    "fastapi": ("server/edgefleet_server/api/*.py", "server/edgefleet_server/dashboard/*.py", "server/edgefleet_server/app.py"),
    "starlette": ("server/edgefleet_server/api/*.py", "server/edgefleet_server/dashboard/*.py", "server/edgefleet_server/app.py"),
    "uvicorn": ("server/edgefleet_server/*.py",),
}  # fmt: skip
"""Outside library -> the files that may import it; `*` crosses folders."""

ONE_FILE_OF_A_ROOM = {("psutil", "agent"), ("onnxruntime", "agent"), ("iotcore", "server")}
"""(library, room): at most one file of the room imports it, whatever its name."""

SMALL_AGENT = {
    "modules": (
        "edgefleet_agent.agent",
        "edgefleet_agent.commands",
        "edgefleet_agent.loop",
        # `loop.run` imports these when it runs:
        "edgefleet_agent.hardware.probe",
        "edgefleet_agent.link.mqtt",
        "edgefleet_agent.looker",
        "edgefleet_agent.serve.launcher",
    ),
    "never": (
        "numpy",
        "onnxruntime",
        "tuf",
        "onnx",
        "torch",
        "edgefleet_server",
        "edgefleet_trust",
        "edgefleet_compress",
        "edgefleet_sim",
    ),
}
"""What the control agent imports must stay small: its budget is 42 MB."""


@dataclass(frozen=True)
class Import:
    """`module` is imported in `file` (relative to the root) at `line`. `names` are those taken from it."""

    file: str
    line: int
    module: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def sources(room: str) -> Iterator[Path]:
    yield from sorted((ROOT / room).glob("edgefleet*/**/*.py"))


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in the file, also those inside functions and under `if TYPE_CHECKING`."""
    file = path.relative_to(ROOT).as_posix()
    package = path.relative_to(ROOT).parts[1:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield Import(file, node.lineno, module, tuple(alias.name for alias in node.names))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "importlib.import_module",
            "import_module",
        ):
            named = node.args[0] if node.args else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield Import(file, node.lineno, named.value)


def room_of(module: str) -> str | None:
    top = module.partition(".")[0]
    if top == "edgefleet":
        return "edgefleet"
    return top.removeprefix("edgefleet_") if top.startswith("edgefleet_") else None


def is_or_is_below(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


ALL = [(room, found) for room in MAY_IMPORT for path in sources(room) for found in imports_of(path)]
FILES = sorted(path.relative_to(ROOT).as_posix() for room in MAY_IMPORT for path in sources(room))


def test_every_room_is_here():
    rooms = {path.parent.name for path in ROOT.glob("*/pyproject.toml")}
    assert rooms == set(MAY_IMPORT)
    assert all(any(file.startswith(room + "/") for file in FILES) for room in rooms)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_it_may(room):
    wrong = [
        str(found)
        for where, found in ALL
        if where == room and room_of(found.module) not in (None, room, *MAY_IMPORT[room])
    ]
    assert wrong == []


def test_no_room_imports_tests():
    assert [str(found) for _, found in ALL if is_or_is_below(found.module, "tests")] == []


PURE_FILES = [file for file in FILES if any(fnmatch(file, pattern) for pattern in PURE)]


def of_its_own(found: Import) -> bool:
    """Whether a pure module imports the protocol, a sibling that is pure too, or no more than records from another one."""
    if room_of(found.module) == "protocol":
        return True
    if room_of(found.module) is None:
        return False
    for name in found.names or ("",):
        paths = (
            f"{room_of(found.module)}/{dotted.replace('.', '/')}.py"
            for dotted in (found.module, f"{found.module}.{name}")
        )
        if not any(path in PURE_FILES for path in paths) and not name[:1].isupper():
            return False
    return True


@pytest.mark.parametrize("file", PURE_FILES)
def test_a_pure_module_looks_at_nothing_but_its_arguments(file):
    wrong = [
        str(found)
        for found in imports_of(ROOT / file)
        if not of_its_own(found)
        and not any(
            is_or_is_below(f"{found.module}.{name}" if name else found.module, allowed)
            for allowed in PURE_MAY_IMPORT
            for name in ("", *found.names)
        )
    ]
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in PURE_NAMES:
                wrong.append(f"{file}:{node.lineno} calls {called.id}")
            elif isinstance(called, ast.Attribute) and called.attr in PURE_CALLS:
                wrong.append(f"{file}:{node.lineno} reads a clock by {ast.unparse(called)}")
    assert wrong == []


def test_the_whole_protocol_is_pure():
    assert {file for file in FILES if file.startswith("protocol/")} <= set(PURE_FILES)


@pytest.mark.parametrize("library", ONLY_IN)
def test_an_outside_library_is_imported_only_where_it_may(library):
    wrong = [
        str(found)
        for _, found in ALL
        if is_or_is_below(found.module, library) and not any(fnmatch(found.file, where) for where in ONLY_IN[library])
    ]
    assert wrong == []


@pytest.mark.parametrize(("library", "room"), sorted(ONE_FILE_OF_A_ROOM))
def test_one_file_of_a_room_stands_before_a_library(library, room):
    files = {found.file for where, found in ALL if where == room and is_or_is_below(found.module, library)}
    assert len(files) <= 1, files


@pytest.mark.parametrize("module", SMALL_AGENT["modules"])
def test_the_control_agent_stays_small(module):
    if not (ROOT / "agent" / (module.replace(".", "/") + ".py")).exists():
        module = "edgefleet_agent.seams"
    program = (
        f"import sys, {module}; "
        f"print(*[name for name in {SMALL_AGENT['never']!r} if any(m == name or m.startswith(name + '.') for m in sys.modules)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"{module} imports {done.stdout}"


# The walls themselves are tried: a rule that cannot fail is no rule.


@pytest.mark.parametrize(
    ("source", "module"),
    (
        ("import torch", "torch"),
        ("import os.path as p", "os.path"),
        ("from paho.mqtt import client", "paho.mqtt"),
        ("def f():\n    import tuf", "tuf"),
        ("from .codec import encode", "edgefleet_protocol.codec"),
        ("from . import codec", "edgefleet_protocol"),
        ("import importlib\nx = importlib.import_module('numpy')", "numpy"),
    ),
)
def test_an_import_is_found_wherever_it_stands(source, module, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "protocol" / "edgefleet_protocol" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert module in {found.module for found in imports_of(path)}
