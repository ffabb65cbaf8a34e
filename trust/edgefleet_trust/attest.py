"""What travels with a release for other people's tools: an OpenSSF model signature and an in-toto provenance statement.

Devices obey neither; they obey the list of releases. Both are signed by the very key with which a holder signs that list,
when it is a P-256 key: the public tools take no Ed25519.

`model.sig`: https://github.com/sigstore/model-transparency, predicate `https://model_signing/signature/v1.0`, in a sigstore
bundle v0.3. `provenance`: https://slsa.dev/spec/v1.0/provenance in DSSE. Verified with model-signing 1.1.1.
"""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec import Meta
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, Signature, Signer

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.dsse import pae
from edgefleet_protocol.manifest import Release

from .errors import BadProposal

STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"
MODEL_PREDICATE = "https://model_signing/signature/v1.0"
PROVENANCE_PREDICATE = "https://slsa.dev/provenance/v1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUILD_TYPE = "urn:edgefleet:compress:v1"
P256_SCHEME = "ecdsa-sha2-nistp256"
MAX_PROVENANCE_BYTES = 256_000


class HolderSignatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One holder's signatures, base64, over the two statements."""

    keyid: Annotated[str, Meta(max_length=64)]
    model: Annotated[str, Meta(max_length=1000)]
    provenance: Annotated[str, Meta(max_length=1000)] = ""


class Attestations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the holders have signed so far."""

    signatures: Annotated[tuple[HolderSignatures, ...], Meta(max_length=64)] = ()
    format: int = 1


def parse_attestations(data: bytes) -> Attestations:
    """Return what `data` holds; raise BadProposal when it is none of ours."""
    try:
        return msgspec.json.decode(data, type=Attestations) if data else Attestations()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadProposal(f"the attestations cannot be read: {error}") from error


def model_statement(release: Release) -> bytes:
    """Return the statement that the model signature signs: every file with its SHA-256, in the order of their names."""
    rows = sorted(release.files, key=lambda entry: entry.name)
    digest = sha256_hex(b"".join(bytes.fromhex(entry.sha256) for entry in rows))
    return _json(
        {
            "_type": STATEMENT,
            "subject": [{"name": f"{release.model}-{release.version}", "digest": {"sha256": digest}}],
            "predicateType": MODEL_PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [],
                },
                "resources": [{"name": entry.name, "algorithm": "sha256", "digest": entry.sha256} for entry in rows],
            },
        }
    )


def provenance_statement(
    release: Release, manifest: bytes, materials: Mapping[str, str], lineage: Mapping[str, Any], builder: str
) -> bytes:
    """Return where the release comes from, as far as its package says.

    materials: SHA-256 by name of what lay beside the files: the data that it was measured on, its report. lineage: what
    the package's `lineage.json` says of workload, data, parent model and tools; empty where there is none. What is not
    known is not there.
    """
    finished = release.created.strftime("%Y-%m-%dT%H:%M:%SZ") if release.created else None
    return _json(
        {
            "_type": STATEMENT,
            "subject": [
                {
                    "name": f"releases/{release.model}/{release.version}.json",
                    "digest": {"sha256": sha256_hex(manifest)},
                },
                *({"name": entry.name, "digest": {"sha256": entry.sha256}} for entry in release.files),
            ],
            "predicateType": PROVENANCE_PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "model": release.model,
                        "recipes": {variant.name: variant.recipe for variant in release.variants},
                    },
                    "internalParameters": dict(lineage),
                    "resolvedDependencies": [
                        {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(materials.items())
                    ],
                },
                "runDetails": {
                    "builder": {"id": builder},
                    "metadata": {"finishedOn": finished} if finished else {},
                },
            },
        }
    )


def check_provenance(statement: bytes, release: Release, manifest: bytes) -> None:
    """Raise BadProposal unless `statement` speaks of this release and no other."""
    try:
        said = json.loads(statement)
        got = {row["name"]: row["digest"]["sha256"] for row in said["subject"]}
        kind = said["predicateType"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadProposal(f"the provenance cannot be read: {error}") from error
    want = {entry.name: entry.sha256 for entry in release.files}
    want[f"releases/{release.model}/{release.version}.json"] = sha256_hex(manifest)
    if got != want or kind != PROVENANCE_PREDICATE:
        raise BadProposal("the provenance speaks of other files than the proposal holds: propose the folder anew")


def attest(signer: Signer, release: Release, provenance: bytes) -> HolderSignatures | None:
    """Return this holder's signatures; None with a key that the public tools do not take."""
    if signer.public_key.scheme != P256_SCHEME:
        return None

    def sign(statement: bytes) -> str:
        return base64.b64encode(bytes.fromhex(signer.sign(pae(IN_TOTO, statement)).signature)).decode()

    return HolderSignatures(
        keyid=signer.public_key.keyid,
        model=sign(model_statement(release)),
        provenance=sign(provenance) if provenance else "",
    )


def check_signatures(attestations: Attestations, keys: Mapping[str, Key], release: Release, provenance: bytes) -> None:
    """Raise BadProposal for a signature that none of `keys`, by id, made."""
    for row in attestations.signatures:
        key = keys.get(row.keyid)
        if key is None:
            raise BadProposal(f"the model signature of {row.keyid[:8]} is of nobody who may sign releases")
        pairs = [(row.model, model_statement(release))]
        if row.provenance or provenance:
            pairs.append((row.provenance, provenance))
        for signature, statement in pairs:
            try:
                made = Signature(row.keyid, base64.b64decode(signature, validate=True).hex())
                key.verify_signature(made, pae(IN_TOTO, statement))
            except (VerificationError, ValueError) as error:
                raise BadProposal(
                    f"the model signature or provenance of {row.keyid[:8]} is wrong: sign anew"
                ) from error


def exported(
    attestations: Attestations, keys: Mapping[str, Key], release: Release, provenance: bytes
) -> dict[str, bytes]:
    """Return the files for other people's tools, by name: of the first holder who signed with a P-256 key.

    The provenance has everybody's signatures. Empty where nobody has signed so.
    """
    if not attestations.signatures:
        return {}
    first = attestations.signatures[0]
    pem = load_pem_public_key(str(keys[first.keyid].keyval["public"]).encode()).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": sha256_hex(pem)}, "tlogEntries": []},
        "dsseEnvelope": _envelope(model_statement(release), {"": first.model}),
    }
    files = {"model.sig": _json(bundle), "holder.pem": pem}
    if provenance:
        signed = {row.keyid: row.provenance for row in attestations.signatures if row.provenance}
        files["provenance.json"] = _json(_envelope(provenance, signed))
    return files


def _envelope(payload: bytes, signatures: Mapping[str, str]) -> dict[str, Any]:
    rows = [{"sig": sig, "keyid": keyid} for keyid, sig in signatures.items()]
    return {"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": rows}


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
