"""What a proposal would change, in words for the person who is asked to sign it."""

import json

from edgefleet_protocol.manifest import Release, Variant

from .chain import Hand
from .proposal import Proposal, manifest_digest


def describe(proposal: Proposal, release: Release, hand: Hand) -> list[str]:
    """Return the lines that a key holder reads before signing. The proposal has been checked."""
    wire = sum(len(payload) for payload in proposal.chunks.values())
    new = proposal.next().signed
    lines = [
        f"New release {release.name}: {release.interface.task}, {len(release.interface.labels)} labels",
        f"  digest    {manifest_digest(proposal)}",
        f"  proposed  {release.created:%Y-%m-%d %H:%M} UTC" if release.created else "  proposed  no date",
        f"  agents    {release.minimum_agent} and later",
        f"  size      {sum(entry.bytes for entry in release.files) / 1e6:.2f} MB in {len(release.files)} files, "
        f"{wire / 1e6:.2f} MB as it travels",
    ]
    if release.original_accuracy is not None:
        original = release.original_accuracy
        lines.append(f"  original  {original.metric} {original.value:.4f} on {original.samples} samples")
    if release.notes:
        lines.append(f"  notes     {release.notes}")
    width = max(len(variant.name) for variant in release.variants)
    for variant in release.variants:
        lines += [f"  variant   {_variant(variant, width)}", f"              needs {needs_words(variant)}"]
    before = sorted(proposal.current().signed.targets)
    lines.append("Listed already: " + (", ".join(_name(path) for path in before) or "nothing"))
    lines.append(
        f"The list goes from version {new.version - 1} to {new.version} and is valid until {new.expires:%Y-%m-%d}"
    )
    lines += _origin(proposal)
    signed = hand.names(hand.signed) or "nobody yet"
    lines.append(f"Signed by {signed}; {hand.threshold} of {len(hand.keyids)} must sign ({hand.names(hand.keyids)})")
    return [_plain(line) for line in lines]


def _origin(proposal: Proposal) -> list[str]:
    """What the provenance says; that it speaks of this release was checked."""
    if not proposal.provenance:
        return ["Provenance: none came with it"]
    definition = json.loads(proposal.provenance).get("predicate", {}).get("buildDefinition", {})
    materials = [str(row.get("name")) for row in definition.get("resolvedDependencies", [])]
    lineage = definition.get("internalParameters", {})
    lines = [f"Provenance: made from {', '.join(materials) or 'nothing that it names'}"]
    lines += [f"  {key}  {json.dumps(value)[:200]}" for key, value in sorted(lineage.items())]
    return lines


def _plain(line: str) -> str:
    """Names and notes are the proposer's words: an escape sequence in them could hide a line from the holder."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _variant(variant: Variant, width: int) -> str:
    accuracy = variant.accuracy
    return f"{variant.name:<{width}}  {variant.bytes / 1e6:8.3f} MB  {accuracy.metric} {accuracy.value:.4f}" + (
        f"  ({variant.recipe})" if variant.recipe else ""
    )


def needs_words(variant: Variant) -> str:
    """Return all that a device must have to be given `variant`: what the signature decides for the whole fleet."""
    needs = variant.requires
    processor = f"a processor {' or '.join(needs.arch)}" if needs.arch else "any processor"
    if needs.features:
        processor += f" with {', '.join(needs.features)}"
    return (
        f"{processor}; {variant.runtime} {needs.min_runtime} or later with {needs.provider}, IR {needs.ir}, "
        f"opset {needs.opset}; {needs.memory_bytes / 1e6:.0f} MB of memory; {needs.load_s:g} s to load"
    )


def _name(path: str) -> str:
    return path.removeprefix("releases/").removesuffix(".json")
