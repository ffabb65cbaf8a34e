"""What the tests of compression share: a tiny workload, trained once, and the package made of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgefleet_compress import workload as workloads
from edgefleet_compress.candidate import Candidate
from edgefleet_compress.commands import main
from edgefleet_compress.progress import Silent
from edgefleet_compress.steps import Context
from edgefleet_compress.steps.export import Export
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.workload import Workload

HERE = Path(__file__).parent
TINY = HERE / "tiny_workload.py"
RECIPES = HERE / "tiny_recipes.toml"


@dataclass(frozen=True)
class Trained:
    """The tiny model after one epoch, and as an ONNX file."""

    workload: Workload
    original: Candidate
    exported: Candidate
    context: Context


@pytest.fixture(scope="session")
def tiny() -> Workload:
    """The tiny workload."""
    return workloads.load(TINY).workload


@pytest.fixture(scope="session")
def trained(tiny: Workload) -> Trained:
    """The tiny model, trained for one epoch."""
    start = Context(0, Silent())
    original = Finetune(epochs=1, learning_rate=0.1).apply(Candidate(module=tiny.make_model()), tiny, start)
    context = Context(0, Silent(), original.module)
    return Trained(tiny, original, Export().apply(original, tiny, context), context)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, made by the command."""
    folder = tmp_path_factory.mktemp("compress")
    code = main(["run", str(TINY), "--recipes", str(RECIPES), "--out", str(folder / "package"), "--json"])
    assert code == 0
    return folder / "package"
