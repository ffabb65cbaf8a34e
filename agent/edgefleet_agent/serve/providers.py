"""On which execution provider a variant runs here, and with what. Pure.

A provider is used only where the runtime of this device offers it *and* the release says how exact answers must be on it:
a tolerance is the release's word that somebody measured there. The fastest such provider is tried first; one that fails its
trial is passed over with its reason, down to the CPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import TensorFile, Variant

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
FASTEST_FIRST = (TENSORRT, CUDA, CPU)

BUILD_S = 3600.0
"""How long an engine may be built. Minutes are usual on a small Jetson; the old model serves meanwhile."""
TRIAL_EXTRA_S = 30.0
"""Beyond the signed time to load: for the golden inputs and the measuring."""
ENGINE_SHARE = 3
"""An engine and its timing cache, in sizes of the model: what the disk must have free before one is built."""

Options = tuple[tuple[str, dict[str, str]], ...]


@dataclass(frozen=True)
class Plan:
    """What a variant is tried on."""

    provider: str
    why: str


def plan(variant: Variant, offered: Sequence[str], refused: Mapping[str, str]) -> Plan | None:
    """Return what to try `variant` on; None when every provider that it may run on failed here.

    offered: by the runtime of this device. refused: reason by provider, of those that failed a trial here.
    """
    named = {row.provider for row in variant.golden.tolerances}
    order = [*FASTEST_FIRST, *(name for name in offered if name not in FASTEST_FIRST)]
    usable = [name for name in order if name in offered and name in named]
    if not usable:
        # Its trial says what is lacking; guessing a tolerance would wave it through.
        usable = [variant.requires.provider]
    left = [name for name in usable if name not in refused]
    if not left:
        return None
    lost = "; ".join(f"{name} failed here: {refused[name]}" for name in usable if name in refused)
    if lost:
        return Plan(left[0], f"back to {left[0]}: {lost}")
    if left[0] == CPU and (spare := [name for name in offered if name in (TENSORRT, CUDA)]):
        return Plan(CPU, f"{CPU}: the release names no tolerance for {', '.join(spare)}")
    return Plan(left[0], f"{left[0]}: the fastest that is offered here and that the release names a tolerance for")


def board_key(hardware: Hardware, tensorrt: str = "") -> str:
    """Return the name of all that a trial's result depends on beyond the variant: board, system, GPU and runtimes."""
    parts = (hardware.board, hardware.arch, hardware.os, hardware.accelerator, hardware.runtimes, tensorrt)
    return sha256_hex(msgspec.json.encode(parts, order="deterministic"))[:16]


def engine_key(hardware: Hardware, tensorrt: str, variant_sha256: str, profile: str) -> str:
    """Return the name of the folder of an engine: one of another JetPack, TensorRT, GPU or model has another name.

    `hardware.os` holds the L4T release, which is what a JetPack is.
    """
    versions = [f"{row.name} {row.version}" for row in hardware.runtimes]
    parts = (hardware.os, tensorrt, hardware.accelerator, hardware.arch, versions, variant_sha256, profile)
    return sha256_hex(msgspec.json.encode(parts, order="deterministic"))[:32]


def shape_profile(golden_inputs: Sequence[TensorFile]) -> str:
    """Return the one shape of each input that an engine is built for, as the provider wants it: a batch of one.

    A request of any other shape would build another engine in serving; the session refuses it instead.
    """
    return ",".join(f"{row.name}:{'x'.join(str(size) for size in (1, *row.shape[1:]))}" for row in golden_inputs)


def fixed(found: Sequence[int], profile: str, name: str) -> tuple[int, ...]:
    """Return the shape of the input called `name`, with the free dimensions as `profile` fixes them."""
    rows = {row.rpartition(":")[0]: row.rpartition(":")[2] for row in profile.split(",") if row}
    if name not in rows:
        return tuple(found)
    wanted = tuple(int(size) for size in rows[name].split("x"))
    if len(wanted) != len(found):
        return tuple(found)
    return tuple(want if size < 0 else size for size, want in zip(found, wanted, strict=True))


def options(provider: str, engines: str | None, profile: str, *, quantized: bool) -> Options:
    """Return the providers of a session with their options, the wanted one first.

    Names of options: onnxruntime.ai, TensorRT execution provider. What TensorRT cannot run goes to CUDA, and what that
    cannot to the CPU, so both follow.
    """
    if provider == TENSORRT:
        chosen = {
            "trt_profile_min_shapes": profile,
            "trt_profile_opt_shapes": profile,
            "trt_profile_max_shapes": profile,
        }
        if engines is not None:
            chosen |= {
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": engines,
                "trt_timing_cache_enable": "True",
                "trt_timing_cache_path": engines,
            }
        if quantized:
            chosen["trt_int8_enable"] = "True"
        return ((TENSORRT, chosen), (CUDA, {}), (CPU, {}))
    if provider == CUDA:
        return ((CUDA, {}), (CPU, {}))
    return ((provider, {}),)


def builds(provider: str) -> bool:
    """Return whether a trial on `provider` builds something that lasts."""
    return provider == TENSORRT


def wall_limit_s(provider: str, load_s: float) -> float:
    """Return how long a trial may take."""
    return (BUILD_S if builds(provider) else 0.0) + 2 * load_s + TRIAL_EXTRA_S


def cpu_limit_s(provider: str, load_s: float) -> int:
    """Return how much processor time a trial may take, over all its threads."""
    return int((4 * BUILD_S if builds(provider) else 0.0) + 4 * load_s + TRIAL_EXTRA_S)


def memory_is_limited(provider: str) -> bool:
    """Return whether the kernel's limit on written memory can be set: a GPU's driver reserves far more than it uses."""
    return provider not in (TENSORRT, CUDA)
