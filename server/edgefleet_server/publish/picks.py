"""Which variants of which releases the known devices will take. Pure."""

from collections.abc import Iterable, Mapping

from edgefleet_protocol.manifest import Release, Variant
from edgefleet_protocol.rollout import Rollout

from ..rollouts.predict import Predictor
from ..store.devices import Device


def picked(
    rollouts: Mapping[str, Rollout], manifests: Mapping[str, Release], devices: Iterable[Device]
) -> dict[str, tuple[Release, tuple[Variant, ...]]]:
    """Return by digest of the release the variants that some device takes or has chosen.

    Every assignment of a device's region counts, also one whose stage does not admit it yet: by the time that it does,
    the chunks are there. With no device known nothing is picked; a device that comes is planned for when it says what
    it is, and until then asks with `need`.
    """
    found: dict[str, dict[str, Variant]] = {}
    predictors: dict[tuple[str, int], Predictor] = {}  # like devices are asked once
    for device in devices:
        rollout = rollouts.get(device.region or "")
        if rollout is None or device.hardware is None:
            continue
        for place, assignment in enumerate(rollout.assignments):
            release = manifests.get(assignment.release.sha256)
            if release is None:
                continue
            variants = found.setdefault(assignment.release.sha256, {})
            key = device.region or "", place
            if key not in predictors:
                predictors[key] = Predictor(release, assignment.release.sha256, rollout.policy, assignment.measured)
            choice = predictors[key](device)
            if choice is not None and choice.taken is not None:
                variants[choice.taken.name] = choice.taken
            state = device.model(assignment.model)
            if state and state.wanted_sha256 == assignment.release.sha256 and state.chosen:
                own = release.variant(state.chosen)
                if own is not None:
                    variants[own.name] = own
    return {sha256: (manifests[sha256], tuple(variants.values())) for sha256, variants in found.items()}
