"""What a model said, and who it was."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Prediction:
    """The outputs of one request."""

    outputs: dict[str, Array]
    """By name, each with a first dimension that counts samples."""
    release: str
    """`fashion/3`."""
    variant: str
    variant_sha256: str
    seconds: float
    """From handing over to having it, as the application sees it."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """The labels that the release names, in the order of the output's last dimension."""
    task: str = field(default="classification", repr=False)

    @property
    def array(self) -> Array:
        """The first output."""
        return next(iter(self.outputs.values()))

    @property
    def label(self) -> str:
        """The label of the first sample's largest value; its number, where the release names no labels."""
        return self.labels[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each sample, in order. Raises ValueError when the model is no classifier."""
        if self.task != "classification":
            raise ValueError(f"{self.release} is for {self.task} and has no label for a sample: see .outputs")
        best = np.argmax(self.array.reshape(len(self.array), -1), axis=1)
        return tuple(self.names[at] if at < len(self.names) else str(at) for at in best.tolist())
