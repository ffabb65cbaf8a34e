"""One training loop for every step that trains. Stochastic gradient descent with one cycle of the learning rate."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import TrainingFailed
from .progress import Progress
from .work import Epochs
from .workload import Split, Workload

EVALUATE_BATCH = 250
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(inputs, outputs, targets) to the number that training makes small."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int
    learning_rate: float
    """The cycle's highest; it rises over the first fifth and falls to nothing."""
    batch: int
    weight_decay: float


def train(
    model: nn.Module,
    workload: Workload,
    schedule: Schedule,
    seed: int,
    progress: Progress,
    loss: Loss | None = None,
    *,
    judged: bool = False,
    epochs: Epochs | None = None,
) -> list[float]:
    """Train `model` in place; return the validation metric after each epoch (nothing unless `judged`).

    loss: what to make small instead of the workload's loss. epochs: where each epoch is kept, and where training goes on
    from after an interruption. The same seed gives the same batches in the same order, interrupted or not.
    Raises TrainingFailed when the loss leaves the numbers.
    """
    training = _name_of(model, schedule, seed) if epochs is not None else ""
    history: list[float] = []
    data = workload.train
    batch = min(schedule.batch, len(data))
    steps_per_epoch = len(data) // batch
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, schedule.learning_rate, momentum=0.9, weight_decay=schedule.weight_decay, nesterov=True
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, max(steps_per_epoch * schedule.epochs, 2), pct_start=0.2
    )
    generator = torch.Generator().manual_seed(seed)
    # Layers that draw at random, such as dropout, take the global generator.
    torch.manual_seed(seed)
    _lay_out(model, data.inputs)
    first = 0
    if epochs is not None and (kept := epochs.load(training)) is not None:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        cycle.load_state_dict(kept["cycle"])
        generator.set_state(kept["generator"])
        torch.set_rng_state(kept["torch"])
        first, history = kept["epoch"], kept["history"]
        progress.advance(first, schedule.epochs, "kept from before")
    for epoch in range(first, schedule.epochs):
        model.train()
        order = torch.randperm(len(data), generator=generator)
        for number in range(steps_per_epoch):
            rows = order[number * batch : (number + 1) * batch]
            inputs, targets = data.inputs[rows], data.targets[rows]
            if workload.augment is not None:
                inputs = workload.augment(inputs, generator)
            inputs = channels_last(inputs)
            outputs = model(inputs)
            value = workload.loss(outputs, targets) if loss is None else loss(inputs, outputs, targets)
            if not math.isfinite(float(value.detach())):
                raise TrainingFailed(
                    f"the loss became {float(value.detach())} in epoch {epoch + 1}, batch {number + 1}. A learning rate "
                    f"below {schedule.learning_rate:g} often helps; else look at the loss and at the data"
                )
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
        if judged:
            history.append(evaluate(model, workload, workload.validation))
        if epochs is not None:
            state = {
                "epoch": epoch + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                "cycle": cycle.state_dict(), "generator": generator.get_state(), "torch": torch.get_rng_state(),
                "history": history,
            }  # fmt: skip
            epochs.save(training, state)
        found = f"validation {workload.metric_name} {history[-1]:.4f}" if judged else ""
        progress.advance(epoch + 1, schedule.epochs, found)
    model.eval()
    return history


def _name_of(model: nn.Module, schedule: Schedule, seed: int) -> str:
    """Return what tells the trainings of one step apart: where each begins, and how it goes."""
    digest = hashlib.sha256(f"{schedule} {seed}".encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype}{list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def evaluate(model: nn.Module, workload: Workload, split: Split) -> float:
    """Return the workload's metric of `model` over `split`."""
    return workload.score(predict(model, split.inputs), split.targets)


def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs of `model`, in evaluation mode, for all of `inputs`."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(channels_last(batch)) for batch in torch.split(inputs, EVALUATE_BATCH)])


def recover_batchnorm(model: nn.Module, workload: Workload, samples: int = 2000, batch: int = 250) -> None:
    """Measure the statistics of every BatchNorm anew, over the first `samples` training inputs.

    After channels are cut, what a layer sees has another mean and spread than what its BatchNorm remembers.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    with torch.no_grad():
        for inputs in torch.split(workload.train.inputs[:samples], batch):
            if len(inputs) > 1:
                model(channels_last(inputs))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def channels_last(inputs: Tensor) -> Tensor:
    """Return pictures in the layout that torch computes convolutions fastest in on a CPU; all else as it is."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def _lay_out(model: nn.Module, inputs: Tensor) -> None:
    if inputs.ndim == 4:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
