"""What a workload imports from beside it is a part of it: a change there makes everything anew, and two never mix."""

import sys
from pathlib import Path

import pytest

from edgefleet_compress import workload as workloads
from edgefleet_compress.commands import main
from edgefleet_compress.work import Work
from tests.compress.conftest import TINY

NET = TINY.read_text().replace("def workload()", "def unused()").replace("torch.set_num_threads(1)", "")
RECIPE = '[original]\nsteps = [{ step = "finetune", epochs = 1, learning_rate = 0.1 }]\n'


def split_in_two(folder: Path, how: str = "from tinynet import Tiny as Net", net: str = NET) -> Path:
    """Write the tiny workload with its network in a file of its own; return the workload's path."""
    folder.mkdir(exist_ok=True)
    (folder / "tinynet.py").write_text(net)
    text = TINY.read_text().replace("make_model=Tiny", "make_model=Net")
    (folder / "workload.py").write_text(
        text.replace("from torch import Tensor, nn", f"from torch import Tensor, nn\n{how}")
    )
    return folder / "workload.py"


BY_PATH = """
import importlib.util
from pathlib import Path
_spec = importlib.util.spec_from_file_location("anything", Path(__file__).parent / "tinynet.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
Net = _module.Tiny
"""
INSIDE = "def Net():\n    from tinynet import Tiny\n    return Tiny()\n"


@pytest.mark.parametrize("how", ["from tinynet import Tiny as Net", BY_PATH, INSIDE])
def test_a_change_in_a_file_beside_the_workload_changes_the_digest(how: str, tmp_path: Path) -> None:
    path = split_in_two(tmp_path / "w", how)
    before = workloads.load(path).digest
    assert workloads.load(path).digest == before
    # The same length within the same second: what compiled files cannot tell apart.
    split_in_two(
        tmp_path / "w", how, NET.replace("functional.relu(self.body(x) + x)", "functional.silu(self.body(x) + x)")
    )
    assert workloads.load(path).digest != before


def test_two_workloads_of_one_process_each_have_their_own_neighbour_and_leave_none(tmp_path: Path) -> None:
    known = set(sys.modules)
    one = workloads.load(split_in_two(tmp_path / "one"))
    two = workloads.load(split_in_two(tmp_path / "two", net=NET.replace("(16, 10)", "(16, 10, bias=False)")))
    assert "head.bias" in one.workload.make_model().state_dict()
    assert "head.bias" not in two.workload.make_model().state_dict()
    assert "tinynet" not in set(sys.modules) - known
    assert str(tmp_path / "one") not in sys.path
    assert not list(tmp_path.rglob("__pycache__"))


def test_what_is_installed_below_the_folder_is_no_neighbour(tmp_path: Path) -> None:
    library = tmp_path / "w" / ".venv" / "lib" / "site-packages"
    library.mkdir(parents=True)
    how = f"import sys; sys.path.append({str(library)!r}); import edgefleet_test_library; sys.path.pop()\nfrom tinynet import Tiny as Net"
    (library / "edgefleet_test_library.py").write_text("x = 1\n")
    path = split_in_two(tmp_path / "w", how)
    loaded = workloads.load(path)
    try:
        assert [name for name, _ in loaded.neighbours.files] == ["tinynet.py"]
        assert "edgefleet_test_library" in sys.modules
    finally:
        del sys.modules["edgefleet_test_library"]


def test_weights_that_the_model_brings_are_a_part_of_the_digest(tmp_path: Path) -> None:
    how = "import json\nfrom pathlib import Path\nfrom tinynet import Tiny\ndef Net():\n    model = Tiny()\n    nn.init.constant_(model.head.bias, json.loads((Path(__file__).parent / 'w.json').read_text()))\n    return model\n"
    path = split_in_two(tmp_path, how)
    digests = []
    for value in (1, 2, 1):
        (tmp_path / "w.json").write_text(str(value))
        digests.append(workloads.load(path).digest)
    assert digests[0] == digests[2] != digests[1]


def test_a_run_with_a_network_beside_it_is_kept_and_a_changed_one_is_trained_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, recipes = split_in_two(tmp_path / "w"), tmp_path / "recipes.toml"
    recipes.write_text(RECIPE)

    def trained(out: str) -> bool:
        argv = [
            "run",
            str(path),
            "--recipes",
            str(recipes),
            "--work",
            str(tmp_path / "work"),
            "--out",
            str(tmp_path / out),
        ]
        assert main(argv) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fp32: finetune 1 epochs")]
        return "kept from before" not in lines[-1]

    assert trained("a")
    assert not trained("b")
    split_in_two(
        tmp_path / "w", net=NET.replace("functional.relu(self.body(x) + x)", "functional.silu(self.body(x) + x)")
    )
    assert trained("c")
    # The kept module is found again by the workload's own class.
    loaded = workloads.load(path)
    with loaded.neighbours.at_work():
        kept = [
            Work(tmp_path / "work").load(entry.name)
            for entry in (tmp_path / "work").iterdir()
            if (entry / "module.pt").exists()
        ]
    assert {type(candidate.module).__module__ for candidate in kept if candidate is not None} == {"tinynet"}
