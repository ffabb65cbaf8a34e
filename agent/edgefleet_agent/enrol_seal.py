"""`agent seal`: make the card of a device into an image whose copies enrol themselves, each as another device."""

import base64
from pathlib import Path

from . import enrol_seed
from .enrol_http import check_url
from .enrol_seed import Seed
from .errors import BadOption
from .identity import FOLDER, Identity
from .identity_files import MAKING, remove

OF_THE_DEVICE = ("facts.json", "outbox")
"""What this device did and saw, its number of starts included; a copy must begin its own. Verified documents, chunks and
slots stay: they are the same for everybody."""


def seal(state: Path, url: str | None, token: str | None, region: str | None) -> Seed:
    """Remove the identity below `state`, and leave what each copy needs to enrol; return that.

    url, token: default to those of an earlier seal. Raises BadOption when one is known from nowhere.
    """
    identity, before = Identity.load(state), enrol_seed.load(state)
    url = url or (before.url if before else None) or (identity.enrolment.url if identity else None)
    token = token or (before.token if before else None)
    if url is None:
        raise BadOption("where should the copies enrol? This device never did: name it with --url")
    if token is None:
        raise BadOption(
            "by which token should the copies enrol? The one that this device used is gone. Make one for many: "
            "edgefleet server enrol-token new --batch, and name it with --token-file"
        )
    check_url(url)
    enrol_seed.read_token(token)
    root = before.root if before else None
    if identity is not None:
        root = base64.b64encode(identity.root_path.read_bytes()).decode()
    seed = Seed(url=url, token=token, region=region or (before.region if before else None), root=root)
    # The seed first: a cut behind it leaves a device with its identity and a seed, and sealing again goes on.
    enrol_seed.save(state, seed)
    for name in (FOLDER, MAKING, *OF_THE_DEVICE):
        remove(state / name)
    return seed
