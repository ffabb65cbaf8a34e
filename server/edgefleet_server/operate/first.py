"""The first server.toml, with words beside each line."""

from pathlib import Path

TEXT = """\
# What `edgefleet server run --config {name}` reads. Relative folders are relative to this file.
# Every key, with its default: docs/reference/configuration.md

repository = "repository"  # signed releases and rollouts, made by `edgefleet trust init`
keys = "keys"              # holds online/: the keys that sign rollouts; those that sign releases belong elsewhere
data = "data"              # the database

[identity]
folder = "identity"        # the fleet's certificate authority, made by `edgefleet server identity init`

[broker]
host = "127.0.0.1"
port = 8883                # with the certificates of the identity folder; configuration: `edgefleet server broker config`

[http]
host = "127.0.0.1"         # an address that others can reach needs certificate and key
port = 8300

[enrolment]
port = 0                   # where devices enrol, as 8443; 0: nowhere

[keep]
windows_days = 7           # of telemetry, window by window

[alerts]
look_s = 15                # rules have defaults; change one, or add one:
# [[alerts.rule]]
# name = "device-silent"
# limit = 3600             # seconds

# [alerts.webhook]
# url = "https://example.org/alerts"
# secret_file = "webhook.secret"

# [alerts.mail]
# host = "mail.example.org"
# sender = "edgefleet@example.org"
# to = ["night-watch@example.org"]
# username = "edgefleet"
# password_file = "mail.password"
"""


def write_first(path: Path) -> bool:
    """Write the first configuration to `path`; return False, and leave it, when one is there."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEXT.format(name=path.name))
    except FileExistsError:
        return False
    return True
