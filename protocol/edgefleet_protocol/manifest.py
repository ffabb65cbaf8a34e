"""A release: what an offline key holder signs, and all that a device needs to know of it.

A folder made by `edgefleet compress` holds the same document as `release.json`, not yet numbered (`version` 0) and not
yet cut (`chunks` empty); `edgefleet release propose` does both.
"""

from typing import Annotated, Literal

from msgspec import Meta

from .codec import Document, Record, Time
from .names import FileName, ModelName, Sha256, VariantName

Text = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Datatype = Literal["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
"""Names of the Open Inference Protocol."""

DATATYPE_BYTES: dict[str, int] = {
    "BOOL": 1, "UINT8": 1, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip

MAX_VARIANTS = 64
MAX_FILES = 512
MAX_CHUNKS = 20_000
"""Of one file. A chunk costs about 120 bytes of the document, so codec.MAX_DOCUMENT_BYTES ends a release at about 8,000."""


class Chunk(Record, frozen=True, kw_only=True):
    """A piece of a file, named by the SHA-256 of its plain bytes."""

    sha256: Sha256
    bytes: Count
    wire_bytes: Count
    """Bytes of the smallest encoding that the server has, as it travels."""


class FileEntry(Record, frozen=True, kw_only=True):
    """A file of the release: the chunks of `chunks`, joined in order, are its bytes."""

    name: FileName
    bytes: Count
    sha256: Sha256
    chunks: Annotated[tuple[Chunk, ...], Meta(max_length=MAX_CHUNKS)] = ()

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire for a device that has none of it; the file's size while it is not cut."""
        return sum(chunk.wire_bytes for chunk in self.chunks) if self.chunks else self.bytes


class TensorSpec(Record, frozen=True, kw_only=True):
    """A named tensor. A dimension of -1 is free."""

    name: Text
    datatype: Datatype
    shape: Annotated[tuple[int, ...], Meta(max_length=8)]


class InputSpec(TensorSpec, frozen=True, kw_only=True):
    """What an application must hand over, so that it means the same to every variant."""

    layout: Text = ""
    """`NCHW`, `NHWC`, or empty where the input is no picture."""
    colour: Text = ""
    """`RGB`, `BGR`, `grey`."""
    range: tuple[float, float] | None = None
    """Smallest and largest value that the model expects."""
    resize: Text = ""
    """How a picture of another size is brought to this one: `stretch`, `letterbox`, `crop`."""


BOX_ROWS = "rows-xyxy-score-classes"
"""A meaning: each row has four corners in pixels, how sure it is that something is there, and a share for each label, 0 to 1."""


class OutputSpec(TensorSpec, frozen=True, kw_only=True):
    """What comes back, and its meaning: `logits`, `probabilities`, `boxes-xyxy`."""

    meaning: Text = ""


class Interface(Record, frozen=True, kw_only=True):
    """The contract with applications. Every variant keeps it; a change of it is breaking."""

    task: Text
    """`classification`, `detection`, `other`."""
    inputs: Annotated[tuple[InputSpec, ...], Meta(min_length=1, max_length=16)]
    outputs: Annotated[tuple[OutputSpec, ...], Meta(min_length=1, max_length=16)]
    labels: Annotated[tuple[Text, ...], Meta(max_length=20_000)] = ()
    """In the order of the output's last dimension."""
    thresholds: dict[str, float] = {}


class TensorFile(Record, frozen=True, kw_only=True):
    """A tensor as a file of the release: raw, little-endian, row-major."""

    name: Text
    datatype: Datatype
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=2**31)], ...], Meta(max_length=8)]
    file: FileName


class Tolerance(Record, frozen=True, kw_only=True):
    """How far answers may be from the golden ones on one execution provider, from measured spread."""

    provider: Text
    max_abs: float
    """Largest absolute difference of any output value."""
    min_top1: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of samples whose largest output must be the golden one, for classification."""


class Golden(Record, frozen=True, kw_only=True):
    """The answers that a variant must give to the release's golden inputs, one tensor per output."""

    outputs: Annotated[tuple[TensorFile, ...], Meta(min_length=1, max_length=16)]
    tolerances: Annotated[tuple[Tolerance, ...], Meta(min_length=1, max_length=16)]

    def tolerance(self, provider: str) -> Tolerance | None:
        """Return the tolerance for `provider`, or None when the release names none."""
        return next((row for row in self.tolerances if row.provider == provider), None)


class Requirement(Record, frozen=True, kw_only=True):
    """What a device must have before it may take the variant. Bounds that protect it are here, signed offline."""

    arch: Annotated[tuple[Text, ...], Meta(max_length=16)] = ()
    """Any of these; empty means any."""
    features: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    """All of these instruction sets."""
    provider: Text = "CPUExecutionProvider"
    min_runtime: Text = "1.19.0"
    ir: int = 8
    opset: int = 17
    memory_bytes: Count = 0
    """Peak memory of the worker that serves it, an upper bound; the worker's limit is set from it."""
    load_s: Seconds = 60.0
    """Longest time to load and answer once, on the slowest board that it is meant for."""


class Accuracy(Record, frozen=True, kw_only=True):
    """Measured on held-out data."""

    metric: Text
    value: float
    samples: Count
    scored_as: Text = ""
    """Under which graph rules: `arm` where the runtime was told to build the graph that Arm gets."""


class LatencyRow(Record, frozen=True, kw_only=True):
    """Time of one inference, batch 1, on one class of hardware."""

    hardware_class: Text
    p50_s: Seconds
    how: Literal["measured", "predicted"]
    source: Text = ""


class Variant(Record, frozen=True, kw_only=True):
    """One way to run the model. The first of `files` is the one that the runtime opens."""

    name: VariantName
    files: Annotated[tuple[FileName, ...], Meta(min_length=1, max_length=16)]
    golden: Golden
    accuracy: Accuracy
    bytes: Count
    """Size of `files` on the device."""
    runtime: Text = "onnxruntime"
    requires: Requirement = Requirement()
    latency: Annotated[tuple[LatencyRow, ...], Meta(max_length=64)] = ()
    recipe: Text = ""
    """How it was made, in words: `prune 30 % + distil + int8`."""

    def latency_on(self, hardware_class: str) -> LatencyRow | None:
        """Return the row for `hardware_class`, measured before predicted, or None."""
        rows = sorted((row for row in self.latency if row.hardware_class == hardware_class), key=lambda row: row.how)
        return rows[0] if rows else None


class Release(Document, frozen=True, kw_only=True):
    """A release, as it is signed. `kind` says what it is; `agent` and `runtime` are reserved for later."""

    model: ModelName
    version: Count
    """Counts up by one for each release of a model; 0 in a package that is not yet proposed."""
    kind: Literal["model", "agent", "runtime"] = "model"
    created: Time | None = None
    interface: Interface
    golden_inputs: Annotated[tuple[TensorFile, ...], Meta(min_length=1, max_length=16)]
    """One tensor per input; the first dimension counts samples, which are sent one at a time."""
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=MAX_VARIANTS)]
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=MAX_FILES)]
    original_accuracy: Accuracy | None = None
    notes: Text = ""
    encryption: dict[str, str] | None = None
    """Reserved: `{scheme, key_id}`. A device that meets it refuses the release."""

    @property
    def name(self) -> str:
        """How people write it: `fashion/3`."""
        return f"{self.model}/{self.version}"

    def variant(self, name: str) -> Variant | None:
        """Return the variant called `name`, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def file(self, name: str) -> FileEntry:
        """Return the file called `name`; raise KeyError when there is none (`check_release` made sure of those named)."""
        for entry in self.files:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def has_file(self, name: str) -> bool:
        """Return whether the release lists a file called `name`."""
        return any(entry.name == name for entry in self.files)

    def files_for(self, variant: Variant) -> tuple[FileEntry, ...]:
        """Return every file that a device needs to try and serve `variant`: the model, golden inputs and answers."""
        names = [
            *variant.files,
            *(tensor.file for tensor in self.golden_inputs),
            *(t.file for t in variant.golden.outputs),
        ]
        by_name = {entry.name: entry for entry in self.files}
        return tuple(by_name[name] for name in dict.fromkeys(names))

    def wire_bytes(self, variant: Variant) -> int:
        """Return the bytes on the wire for a device that has no chunk of it yet."""
        chunks = {chunk.sha256: chunk.wire_bytes for entry in self.files_for(variant) for chunk in entry.chunks}
        return sum(chunks.values()) if chunks else sum(entry.bytes for entry in self.files_for(variant))
