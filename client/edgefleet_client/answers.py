"""Are these the answers that the releases' packages promise? For load generators."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass
class Answers:
    """Packages by release, and what each of their variants says to each input.

    A package has DIR/check/<variant>.f32: that variant's outputs for all inputs, raw little-endian float32.
    """

    samples: int
    max_abs: float
    folders: dict[str, Path] = field(default_factory=dict)
    file: Path | None = None
    """A JSON object, release to folder, that is read again when it changes: for releases that come while it runs."""
    _read_at: tuple[int, int, int] = (0, 0, 0)
    _outputs: dict[Path, Floats | None] = field(default_factory=dict)

    def wrong(self, index: int, output: Floats, release: str, variant: str) -> str | None:
        """Return why `output` is a wrong answer to input `index`, or None.

        Wrong is an answer that differs anywhere by more than `max_abs` times the spread of the expected outputs, if
        that is more than 1: so 0.05 means 0.05 of probability, and a twentieth of the range of logits. Wrong is also
        another label, unless the expected outputs of the two labels are closer than that: a tie may fall either way.
        An answer of a release or variant that is not known here is wrong only when its label is none that any known
        variant gives to this input.
        """
        self._refresh()
        folder = self.folders.get(release)
        expected = self._expected(folder / "check" / f"{variant}.f32") if folder is not None else None
        label = int(np.argmax(output))
        if expected is None:
            known = {int(np.argmax(each[index])) for each in self._all() if each.shape[1] == output.size}
            return (
                f"{release} {variant} says {label} and the known ones {sorted(known)}"
                if known and label not in known
                else None
            )
        row = expected[index]
        if row.size != output.size:
            return f"{release} {variant} gave {output.size} values and its package has {row.size}"
        allowed = self.max_abs * max(1.0, float(row.max() - row.min()))
        apart = float(np.max(np.abs(output - row)))
        if not apart <= allowed:
            return f"{release} {variant} differs by {apart:.4g} at input {index} and {allowed:.4g} is allowed"
        right = int(np.argmax(row))
        if label != right and float(row[right] - row[label]) > allowed:
            return f"{release} {variant} says {label} to input {index} and its package {right}"
        return None

    def _refresh(self) -> None:
        if self.file is None:
            return
        try:
            info = self.file.stat()
            stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
            if stamp != self._read_at:
                self.folders.update((str(k), Path(v)) for k, v in json.loads(self.file.read_text()).items())
                self._read_at = stamp
                # A variant that was looked for too early may be there now.
                self._outputs = {path: value for path, value in self._outputs.items() if value is not None}
        except (OSError, ValueError, AttributeError, TypeError):
            return  # not there yet, or half written: the next answer looks again

    def _all(self) -> list[Floats]:
        paths = [path for folder in self.folders.values() for path in sorted((folder / "check").glob("*.f32"))]
        found = [self._expected(path) for path in paths if path.name != "inputs.f32"]
        return [each for each in found if each is not None]

    def _expected(self, path: Path) -> Floats | None:
        if path not in self._outputs:
            try:
                values = np.fromfile(path, dtype="<f4")
                self._outputs[path] = values.reshape(self.samples, -1) if values.size else None
            except (OSError, ValueError):
                self._outputs[path] = None
        return self._outputs[path]
