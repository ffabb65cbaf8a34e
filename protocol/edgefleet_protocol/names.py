"""Names: what may be called what. A name goes into topics, file paths and certificates, so the rules are narrow."""

import re
from typing import Annotated

from msgspec import Meta

from .errors import BadName

# \Z and not $: `$` also matches before a trailing newline.
_LABEL = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z"
_VARIANT = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z"
_FILE = r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}){0,3}\Z"
_SHA256 = r"^[0-9a-f]{64}\Z"

FleetName = Annotated[str, Meta(pattern=_LABEL)]
RegionName = Annotated[str, Meta(pattern=_LABEL)]
DeviceId = Annotated[str, Meta(pattern=_LABEL)]
ModelName = Annotated[str, Meta(pattern=_LABEL)]
TagName = Annotated[str, Meta(pattern=_LABEL)]
VariantName = Annotated[str, Meta(pattern=_VARIANT)]
FileName = Annotated[str, Meta(pattern=_FILE)]
"""A relative path of at most four parts, without `..`, that a device may write below a folder of its own."""
Sha256 = Annotated[str, Meta(pattern=_SHA256)]


def check_label(kind: str, name: str) -> str:
    """Return `name` when it may name a fleet, region, device, model or tag; raise BadName otherwise."""
    if not re.match(_LABEL, name):
        raise BadName(
            f"{name!r} cannot name a {kind}: use 1 to 64 of a-z, 0-9 and -, with a letter or digit at either end"
        )
    return name


def is_sha256(text: str) -> bool:
    """Return whether `text` is 64 lower-case hexadecimal digits."""
    return re.match(_SHA256, text) is not None


def release_name(model: str, version: int) -> str:
    """Return how people write a release: `fashion/3`."""
    return f"{model}/{version}"


def parse_release_name(name: str) -> tuple[str, int]:
    """Return the model and version of `fashion/3`; raise BadName when it is not of that form."""
    model, slash, version = name.partition("/")
    if not slash or not re.match(r"^(?:0|[1-9][0-9]{0,8})\Z", version):
        raise BadName(f"{name!r} is not a release: write MODEL/NUMBER, as in fashion/3")
    return check_label("model", model), int(version)
