"""The attacks on the broker's configuration, with every test run: whoever changes a line of it hears of it."""

from pathlib import Path

from tests.attacks import attack_17_flood, attack_18_certificates, attack_21_rights


def test_attack_17_a_packet_that_is_too_large_ends_its_sender_alone(tmp_path: Path) -> None:
    attack_17_flood.at_the_broker(tmp_path)


def test_attack_18_no_certificate_that_is_not_the_fleets_own_opens_anything(tmp_path: Path) -> None:
    attack_18_certificates.run(tmp_path)


def test_attack_21_a_device_reaches_only_what_is_its_own(tmp_path: Path) -> None:
    attack_21_rights.run(tmp_path)
