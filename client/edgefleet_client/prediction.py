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
    labels: tuple[str, ...] = field(default=(), repr=False)

    @property
    def array(self) -> Array:
        """The first output."""
        return next(iter(self.outputs.values()))

    @property
    def label(self) -> str:
        """The label of the first sample's largest value; its number, where the release names no labels."""
        index = int(np.argmax(self.array[0]))
        return self.labels[index] if index < len(self.labels) else str(index)
