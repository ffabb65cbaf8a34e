"""A key's fingerprint as words, to compare by voice: one word for each of the first twelve bytes of its SHA-256.

Ninety-six bits: nobody makes a second key with the same words. The list is our own; its order is part of the format.
"""

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key

from edgefleet_protocol.codec import sha256_hex

from .errors import KeyProblem

WORDS = tuple(
    """
    acorn actor album amber angel ankle apple april apron arena arrow atlas attic audio aunt autumn
    bacon badge bagel baker balcony bamboo banjo barrel basket beacon beaver bench berry bicycle bishop blanket
    blossom bottle boulder breeze bridge bronze bucket buffalo butter button cabin cactus camel candle canoe canyon
    captain carbon carpet castle cedar cello cherry chimney cinema circus clover cobalt cocoa coffee comet compass
    copper coral cotton cousin cradle crater cricket crystal curtain daisy dancer desert diamond dinner doctor dolphin
    donkey dragon drummer eagle easel echo eclipse elbow ember emerald engine envelope falcon farmer feather ferry
    fiddle finger flame flamingo flute forest fossil fountain fox galaxy garden garlic gecko giant ginger glacier
    glove goblet granite grape guitar hammer harbour harvest hazel helmet hermit heron hockey honey horizon hotel
    iceberg igloo indigo insect island ivory jacket jaguar jasmine jelly jewel jigsaw judge jungle kayak kettle
    keyhole kitchen kitten ladder lagoon lantern lemon leopard letter lilac lizard lobster lotus lumber lunar magnet
    mango maple marble market meadow melon mermaid meteor mirror monkey mosaic muffin museum mustard napkin needle
    nickel noodle nutmeg oasis ocean octopus olive onion orbit orchid otter oxygen oyster paddle palace panda
    paper parrot peanut pebble pelican pepper piano pigeon pillow pilot pirate planet plaza pocket poem pony
    potato prairie pumpkin puppet python quartz queen quilt rabbit radar radish raven ribbon river robin rocket
    saddle safari salmon sandal saturn scarf shadow shovel silver siren sofa spider spinach squirrel sugar sunset
    tablet tango teapot temple thunder tiger timber toast tomato tractor tulip tundra turtle velvet violin walnut
    """.split()  # noqa: SIM905
)
COUNT = 12


def material(key: Key) -> bytes:
    """Return the key itself, however its text is written: two ids with the same material are one key."""
    public = str(key.keyval.get("public", ""))
    try:
        if key.keytype == "ed25519":
            raw = bytes.fromhex(public)
            if len(raw) != 32:
                raise ValueError(f"{len(raw)} bytes instead of 32")
            return b"ed25519 " + raw
        return load_pem_public_key(public.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:  # the library has many errors of its own for a text that is no key
        raise KeyProblem(f"the key {key.keyid[:8]} is no {key.keytype} key: {error}") from error


def fingerprint(key: Key) -> str:
    """Return the twelve words of `key`; raise KeyProblem when it is none."""
    return " ".join(WORDS[byte] for byte in bytes.fromhex(sha256_hex(material(key)))[:COUNT])
