"""What can go wrong while compressing. All are CompressError; `commands` prints the message and chooses the exit code."""

from pathlib import Path


class CompressError(Exception):
    """The base of all errors of this part."""


class WorkloadError(CompressError):
    """The user's workload file cannot be used; the message names the file and what to change in it."""

    def __init__(self, path: Path | str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = Path(path)


class BadMetric(CompressError):
    """The workload's metric does not return what a metric must."""


class RecipeError(CompressError):
    """A recipe names what does not exist, or steps in an order that cannot work."""


class TrainingFailed(CompressError):
    """Training left the numbers: the loss became NaN or infinite."""


class ToleranceMissed(CompressError):
    """No ratio that was tried kept the validation loss within the tolerance. The variant is left out."""


class ExportMismatch(CompressError):
    """The exported file is not what was asked for, or does not answer as the module did."""


class CannotQuantize(CompressError):
    """The model cannot be quantized as asked."""


class PackageError(CompressError):
    """A package folder cannot be written or read."""


class WorkFolderError(CompressError):
    """Finished steps cannot be kept where they should be."""


class DiskFull(CompressError):
    """There is no space left where the work or the package is written."""

    def __init__(self, folder: Path, free_bytes: int) -> None:
        super().__init__(
            f"no space left on the disk of {folder} ({free_bytes / 1e6:.1f} MB free). Free some, or name another folder "
            "with --work or --out, and run the same command again: finished steps are kept"
        )
        self.folder, self.free_bytes = folder, free_bytes


class RoadRefused(CompressError):
    """An ONNX file cannot be taken, or nothing that was made of it is smaller and answers alike."""
