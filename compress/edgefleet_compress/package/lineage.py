"""`lineage.json`: what a package was made of and with, for the provenance that travels with the release."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..workload import Loaded

LINEAGE = "lineage.json"


def lineage_document(
    loaded: Loaded, recipes: Path, made_with: Mapping[str, object], steps: Mapping[str, Sequence[str]]
) -> bytes:
    """Return the document: digests of the workload, its data and the recipes; versions and seed; each variant's steps.

    `inputs_sha256` names the workload file, the files that it imports, its data and the weights that it brought, together.
    """
    document = {
        "workload": {"file": loaded.path.name, "sha256": _digest(loaded.path), "inputs_sha256": loaded.digest},
        "recipes": {"file": recipes.name, "sha256": _digest(recipes)},
        "made_with": {name: str(value) for name, value in made_with.items()},
        "steps": {name: list(words) for name, words in steps.items()},
    }
    return json.dumps(document, indent=1).encode()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
