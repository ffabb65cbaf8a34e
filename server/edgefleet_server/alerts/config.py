"""`[alerts]` of server.toml, or the same in alerts.toml beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomllib

from edgefleet_protocol.wrong_type import converted

from ..errors import BadConfig
from .rules import DEFAULTS, Rule, read_rules

FILE = "alerts.toml"


@dataclass(frozen=True)
class WebhookConfig:
    """Where alerts are posted as JSON. `url` of "": nowhere."""

    url: str = ""
    secret_file: str = ""
    """Whose content signs each body: HMAC-SHA256, in the header X-EdgeFleet-Signature."""


@dataclass(frozen=True)
class MailConfig:
    """Who gets mail of alerts. `host` of "": nobody."""

    host: str = ""
    port: int = 587
    sender: str = ""
    to: tuple[str, ...] = ()
    starttls: bool = True
    username: str = ""
    password_file: str = ""
    ca: str = ""
    """The authority of the mail server's certificate, where it is none that the system knows."""


@dataclass(frozen=True)
class AlertsConfig:
    """What the fleet is watched for, and who is told."""

    look_s: float = 15.0
    """How often the rules are asked."""
    rules: tuple[Rule, ...] = DEFAULTS
    webhook: WebhookConfig = WebhookConfig()
    mail: MailConfig = MailConfig()


def read_alerts(table: Mapping[str, Any], base: Path) -> AlertsConfig:
    """Return what `[alerts]` says, or alerts.toml in `base` when there is no such section; raise BadConfig."""
    rows = table.get("alerts")
    if rows is None:
        rows = {}
        if (base / FILE).is_file():
            try:
                rows = tomllib.loads((base / FILE).read_text(encoding="utf-8"))
            except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise BadConfig(f"{base / FILE} is not TOML: {error}") from error
    elif (base / FILE).is_file():
        raise BadConfig(f"both [alerts] and {base / FILE} are there, and it is not said which counts: keep one of them")
    known = {"look_s", "rule", "webhook", "mail", "defaults"}
    if not isinstance(rows, Mapping) or (extra := sorted(set(rows) - known)):
        raise BadConfig(
            f"alerts.{extra[0] if isinstance(rows, Mapping) else ''} is not known. Known: {', '.join(sorted(known))}"
        )
    rules = rows.get("rule", [])
    if not isinstance(rules, list):
        raise BadConfig("alerts.rule is written as [[alerts.rule]], once for each")
    found = AlertsConfig(
        look_s=converted(rows.get("look_s", 15.0), float, "alerts.look_s", BadConfig),
        rules=read_rules(rules, defaults=converted(rows.get("defaults", True), bool, "alerts.defaults", BadConfig)),
        webhook=_part(rows, "webhook", WebhookConfig),
        mail=_part(rows, "mail", MailConfig),
    )
    return _checked(found, base)


def _part(rows: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    part = rows.get(name, {})
    if not isinstance(part, Mapping):
        raise BadConfig(f"alerts.{name} must be a table")
    if extra := sorted(set(part) - set(kind.__dataclass_fields__)):
        raise BadConfig(f"alerts.{name}.{extra[0]} is not known. Known: {', '.join(sorted(kind.__dataclass_fields__))}")
    return converted(dict(part), kind, f"alerts.{name}", BadConfig)


def _checked(found: AlertsConfig, base: Path) -> AlertsConfig:
    if not 0.05 <= found.look_s <= 3600:
        raise BadConfig(f"alerts.look_s is {found.look_s:g}: write seconds, from 0.05 to 3600")
    webhook, mail = found.webhook, found.mail
    if webhook.url and (urlsplit(webhook.url).scheme not in ("http", "https") or not urlsplit(webhook.url).hostname):
        raise BadConfig(f"alerts.webhook.url is {webhook.url!r}: write it as https://example.org/alerts")
    if mail.host and not (mail.sender and mail.to):
        raise BadConfig("alerts.mail has a host: say with sender and to from whom and to whom")
    if mail.username and not mail.starttls:
        raise BadConfig("alerts.mail.username would send its password unencrypted: leave starttls = true")
    if bool(mail.username) != bool(mail.password_file):
        raise BadConfig("alerts.mail.username and alerts.mail.password_file belong together: one of them is missing")
    for name, value in (
        ("webhook.secret_file", webhook.secret_file), ("mail.password_file", mail.password_file), ("mail.ca", mail.ca),
    ):  # fmt: skip
        if value and not (base / value).is_file():
            raise BadConfig(f"alerts.{name} names {base / value}, and there is no such file")
    placed = {name: str(base / value) for name, value in (("secret_file", webhook.secret_file),) if value}
    posted = {name: str(base / getattr(mail, name)) for name in ("password_file", "ca") if getattr(mail, name)}
    return AlertsConfig(
        found.look_s,
        found.rules,
        WebhookConfig(**{**vars(webhook), **placed}),
        MailConfig(**{**vars(mail), **posted}),
    )
