"""What a device says it is, and the class that its measurements are pooled under."""

from typing import Annotated

from msgspec import Meta

from .codec import Record

Text = Annotated[str, Meta(max_length=256)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class RuntimeInfo(Record, frozen=True, kw_only=True):
    """One inference runtime on the device, and what it can open."""

    name: Text
    """`onnxruntime`, the first; a variant names its runtime by this word."""
    version: Text
    providers: Annotated[tuple[Text, ...], Meta(max_length=32)] = ("CPUExecutionProvider",)
    max_ir: Count = 10
    """The newest ONNX IR version that it opens. Defaults are onnxruntime 1.19's, the oldest that is supported."""
    max_opset: Count = 21


class Hardware(Record, frozen=True, kw_only=True):
    """What a device is. All of it was read on the device; what could not be read is empty, zero or None."""

    board: Text
    """The first `compatible` string of the device tree (`raspberrypi,4-model-b`), or `generic`."""
    hardware_class: Text
    """The class of `class_of`: measurements of one device speak for others of its class."""
    arch: Text
    """As `uname -m` says: `aarch64`, `x86_64`."""
    features: Annotated[tuple[Text, ...], Meta(max_length=256)] = ()
    """Instruction sets that *every* core has, by the kernel's names: `asimd`, `asimddp`, `avx2`."""
    cores: Count = 0
    memory_bytes: Count = 0
    storage_bytes: Count = 0
    """Size of the file system that holds the agent's state. Free bytes change and are telemetry."""
    accelerator: Text | None = None
    """The GPU's compute capability, `sm_87`, where there is one."""
    power_mode: Text | None = None
    os: Text = ""
    python: Text = ""
    runtimes: Annotated[tuple[RuntimeInfo, ...], Meta(max_length=16)] = ()

    def runtime(self, name: str) -> RuntimeInfo | None:
        """Return the runtime called `name`, or None when the device lacks it."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)


# Prefixes of the device tree's `compatible` strings, longest first where one is a prefix of another. Names of Raspberry
# Pi boards are those of the kernel's device trees; Jetson modules are told apart by their p-number.
_CLASSES = (
    ("raspberrypi,model-zero-2", "pi-zero-2-w"),
    ("raspberrypi,3-", "pi3"),
    ("raspberrypi,400", "pi4"),
    ("raspberrypi,4-", "pi4"),
    ("raspberrypi,500", "pi5"),
    ("raspberrypi,5-", "pi5"),
    ("nvidia,p3768-0000+p3767-0003", "orin-nano"),
    ("nvidia,p3768-0000+p3767-0004", "orin-nano"),
    ("nvidia,p3768-0000+p3767-0005", "orin-nano"),
    ("nvidia,p3768-0000+p3767", "orin-nx"),
    ("nvidia,p3737", "agx-orin"),
    ("nvidia,p3450", "jetson-nano"),
    ("nvidia,jetson-nano", "jetson-nano"),
    # One carrier takes the TX2 NX (p3636) and the Xavier NX (p3668).
    ("nvidia,p3509-0000+p3636", "tx2"),
    ("nvidia,p3668", "xavier-nx"),
    ("nvidia,p3449-0000+p3668", "xavier-nx"),
    ("nvidia,p3509", "xavier-nx"),
    ("nvidia,p2972", "agx-xavier"),
    ("nvidia,p2771", "tx2"),
    ("nvidia,quill", "tx2"),
)


def class_of(compatible: tuple[str, ...], arch: str) -> str:
    """Return the hardware class of a board from its device tree, or `generic-<arch>` when it is not known."""
    for name in compatible:
        for prefix, hardware_class in _CLASSES:
            if name.startswith(prefix):
                return hardware_class
    return f"generic-{arch.replace('_', '-')}"
