"""Each outside library is imported in the files that are named for it, and nowhere else."""

import ast
from pathlib import Path

import pytest

import edgefleet_compress

ROOT = Path(edgefleet_compress.__file__).parent
QUANTIZERS = {
    *(f"steps/quantize_{how}.py" for how in ("static", "dynamic", "weights")),
    "steps/ranges.py",
    "road/candidates.py",
}
HOMES = {
    "torch_pruning": {"steps/prune.py"},
    "onnxruntime.quantization": QUANTIZERS,
    "onnxruntime": {"runtime.py", "steps/half.py", *QUANTIZERS},
    "rich": {"progress.py"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_at_home(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if any(name == library or name.startswith(f"{library}.") for name in imports(path))
    }
    assert users == HOMES[library]


def test_of_our_own_rooms_only_the_protocol_is_imported() -> None:
    ours = {
        name.split(".")[0] for path in ROOT.rglob("*.py") for name in imports(path) if name.startswith("edgefleet_")
    }
    assert ours == {"edgefleet_protocol", "edgefleet_compress"}  # the example is written as a user would write it
