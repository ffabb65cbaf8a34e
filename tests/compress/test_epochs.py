"""An interruption in the middle of training costs at most one epoch, and changes no weight of the result."""

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgefleet_compress.candidate import Candidate
from edgefleet_compress.commands import main
from edgefleet_compress.progress import Lines, Silent
from edgefleet_compress.steps import Context, Step
from edgefleet_compress.steps.distill import Distill
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.prune import Prune
from edgefleet_compress.work import Work
from edgefleet_compress.workload import Workload
from tests.compress.conftest import TINY, Trained
from tests.compress.test_commands import process


class Cut(Exception):
    """Stands for Ctrl-C."""


class CutAfter(Silent):
    """Interrupts after so many epochs; counts those that were trained."""

    def __init__(self, epochs: int) -> None:
        self.left, self.trained = epochs, 0

    def advance(self, done: int, of: int, found: str = "") -> None:
        if found == "kept from before":
            return
        self.trained += 1
        self.left -= 1
        if self.left == 0:
            raise Cut


class Forgetful(nn.Module):
    """The tiny network with dropout: it draws from the global generator, which must go on where it was."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forget = inner, nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.forget(x))
        return out


def noisy(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return (inputs + 0.05 * torch.rand(inputs.shape, generator=generator)).clamp(0, 1)


STEPS: list[Step] = [
    Finetune(epochs=4, learning_rate=0.1),
    Distill(epochs=4),
    Prune(ratio=0.5, round_to=4, tolerance_points=100, recover=Distill(epochs=4)),
]


@pytest.fixture
def noisy_tiny(trained: Trained) -> Workload:
    return dataclasses.replace(trained.workload, augment=noisy)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_resumed_training_ends_with_the_same_weights(
    step: Step, after: int, noisy_tiny: Workload, trained: Trained, tmp_path: Path
) -> None:
    start = Candidate(module=Forgetful(trained.original.copy_of_module("test")))
    teacher = trained.context.original
    whole = step.apply(start, noisy_tiny, Context(0, Silent(), teacher))

    epochs = Work(tmp_path).epochs("k")
    with pytest.raises(Cut):
        step.apply(start, noisy_tiny, Context(0, CutAfter(after), teacher, epochs))
    torch.manual_seed(999)  # another process draws otherwise
    rest = CutAfter(0)
    resumed = step.apply(start, noisy_tiny, Context(0, rest, teacher, epochs))
    assert rest.trained == 4 - after
    assert whole.facts == resumed.facts
    assert whole.module is not None and resumed.module is not None
    one, two = whole.module.state_dict(), resumed.module.state_dict()
    assert list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)
    epochs.clear()
    assert not list(tmp_path.iterdir())


def test_each_try_of_pruning_is_kept_apart(noisy_tiny: Workload, trained: Trained, tmp_path: Path) -> None:
    def metric() -> Iterator[float]:
        yield from (0.9, 0.5, 0.897)

    def scored() -> Workload:
        values = metric()
        return dataclasses.replace(noisy_tiny, metric=lambda outputs, targets: next(values))

    step = Prune(ratio=0.75, lower_by=0.25, round_to=4, attempts=2, recover=Finetune(epochs=2))
    epochs = Work(tmp_path).epochs("k")
    with pytest.raises(Cut):
        step.apply(trained.original, scored(), Context(0, CutAfter(3), trained.context.original, epochs))
    rest = CutAfter(0)
    step.apply(trained.original, scored(), Context(0, rest, trained.context.original, epochs))
    assert rest.trained == 1


def test_a_broken_epoch_is_trained_again(trained: Trained, tmp_path: Path) -> None:
    epochs = Work(tmp_path).epochs("k")
    with pytest.raises(Cut):
        Finetune(epochs=2).apply(trained.original, trained.workload, Context(0, CutAfter(1), None, epochs))
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    again = CutAfter(0)
    Finetune(epochs=2).apply(trained.original, trained.workload, Context(0, again, None, epochs))
    assert again.trained == 2


def test_a_killed_command_goes_on_in_the_middle_of_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipes = tmp_path / "recipes.toml"
    recipes.write_text('[original]\nsteps = [{ step = "finetune", epochs = 30, learning_rate = 0.1 }]\n')
    running = process(tmp_path / "package", "  fp32: finetune 30 epochs: epoch 3 of 30", recipes)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("  fp32: finetune 30 epochs: epoch 3 of 30, validation accuracy 0."):
            running.send_signal(signal.SIGKILL)
            break
    running.stderr.close()
    running.wait()
    argv = ["run", str(TINY), "--recipes", str(recipes), "--out", str(tmp_path / "package")]
    assert main(argv) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "epoch" in line and line.startswith("  ")]
    assert "kept from before" in lines[0] and int(lines[0].split("epoch ")[1].split()[0]) >= 3
    assert "epoch 30 of 30" in lines[-1]
    assert not list((tmp_path / "package-work").glob("*.epoch"))


def test_where_there_is_no_terminal_each_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.begin("fp32: finetune 2 epochs")
    lines.advance(1, 2, "validation accuracy 0.5000")
    lines.end("done")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("  fp32: finetune 2 epochs: epoch 1 of 2, validation accuracy 0.5000 (")
    assert second.startswith("fp32: finetune 2 epochs: done (")
