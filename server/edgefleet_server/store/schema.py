"""Every table. A change here needs a migration beside it: a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)

Big = BigInteger().with_variant(Integer(), "sqlite")
"""Whatever may pass 2**31. SQLite's INTEGER has 64 bits anyway, and only under that name is a key its row's number."""

metadata = MetaData()

devices = Table(
    "devices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("first_seen_s", Float, nullable=False),
    Column("last_seen_s", Float),
    Column("online", Boolean, nullable=False, default=False),
    Column("session", Big, nullable=False, default=0),
    Column("boot", String(128), nullable=False, default=""),
    Column("region", String(64)),
    Column("tags", Text, nullable=False, default="[]"),
    Column("hardware_class", String(256)),
    Column("state", LargeBinary),
    Column("state_at_s", Float),
    Column("assigned_number", Big, nullable=False, default=0),
    Column("assigned_region", String(64)),
    Column("assigned_tags", Text, nullable=False, default="[]"),
    Column("assignment", LargeBinary),
    Column("dropped_windows", Big, nullable=False, default=0),
    Column("lineage", LargeBinary),
    Column("alarm", LargeBinary),
    Column("frozen", String(300)),
    Column("counts_from_s", Float),
    # What it runs and does, from its state, as words between spaces: for lists that are filtered by them.
    Column("runs", Text),
    Column("phases", Text),
    Column("joined_s", Float),
)

releases = Table(
    "releases",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("path", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("seen_s", Float, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("region", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("release", String(80), nullable=False),
    Column("assignment", LargeBinary, nullable=False),
    Column("policy", LargeBinary, nullable=False),
    Column("previous", LargeBinary),
    Column("previous_policy", LargeBinary),
    Column("status", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("stage_opened_s", Float, nullable=False),
    Column("updated_s", Float, nullable=False),
    Column("approved", Integer, nullable=False, server_default="0"),
    Column("waves", Text, nullable=False, server_default="[]"),
    Column("soaking_s", Float),
    Index("rollouts_by_region", "region", "model"),
)

moves = Table(
    "moves",
    metadata,
    Column("id", Big, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False),
    Column("at_s", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Index("moves_by_rollout", "rollout"),
)

events = Table(
    "events",
    metadata,
    Column("device", String(64), nullable=False),
    Column("boot", String(128), nullable=False),
    Column("number", Big, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("kind", String(128), nullable=False),
    Column("text", Text, nullable=False),
    Column("model", String(128)),
    Column("release", String(128)),
    Column("variant", String(128)),
    Column("facts", Text, nullable=False, default="{}"),
    PrimaryKeyConstraint("device", "boot", "number"),
    Index("events_by_time", "received_s"),
)

windows = Table(
    "windows",
    metadata,
    Column("device", String(64), nullable=False),
    Column("boot", String(128), nullable=False),
    Column("started_monotonic_s", Float, nullable=False),
    Column("placed_s", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    # Of all models together, and what each of them counted: `telemetry/stored.py` reads both.
    Column("requests", Big, nullable=False, server_default="0"),
    Column("models", LargeBinary, nullable=False),
    PrimaryKeyConstraint("device", "boot", "started_monotonic_s"),
    Index("windows_by_device", "device", "placed_s"),
    Index("windows_by_time", "placed_s"),
)

device_quarters = Table(
    "device_quarters",
    metadata,
    Column("device", String(64), nullable=False),
    Column("start_s", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("windows", BigInteger, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("models", LargeBinary, nullable=False),
    PrimaryKeyConstraint("device", "start_s"),
    Index("device_quarters_by_time", "start_s"),
)
"""Windows of fifteen minutes that are not kept one by one any more: `facts` and `models` as there."""

audit = Table(
    "audit",
    metadata,
    Column("id", Big, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("region", String(64)),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("regions", Text),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("revoked_s", Float),
)

commands = Table(
    "commands",
    metadata,
    Column("id", Big, primary_key=True),
    Column("device", String(64), nullable=False),
    Column("epoch", String(128), nullable=False),
    Column("number", Big, nullable=False),
    Column("action", String(128), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("sent_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("replied_s", Float),
    Column("ok", Boolean),
    Column("text", Text),
    Column("facts", Text),
    Column("working_s", Float),
    Column("data", LargeBinary),
    Index("commands_by_number", "device", "epoch", "number", unique=True),
)

retained = Table(
    "retained",
    metadata,
    Column("topic", String(300), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("bytes", Big, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("actor", String(128), nullable=False),
    Column("key", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at_s", Float, nullable=False),
    Column("status", Integer),
    Column("kind", String(64)),
    Column("body", LargeBinary),
    PrimaryKeyConstraint("actor", "key"),
    Index("answers_by_time", "at_s"),
)

identities = Table(
    "identities",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("public_key", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("issued_s", Float, nullable=False),
    Column("not_after_s", Float, nullable=False),
    Column("certificate", Text, nullable=False),
    Column("replaces", String(40)),
    Column("confirmed_s", Float),
    Column("revoked_s", Float),
    Column("token", String(16)),
    Index("identities_by_device", "device"),
    Index("identities_by_key", "public_key"),
    Index("identities_by_predecessor", "replaces"),
)

enrol_tokens = Table(
    "enrol_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("region", String(64), nullable=False),
    Column("tags", Text, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("cap", Integer, nullable=False),
    Column("device", String(64)),
    Column("allowed", Text, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("revoked_s", Float),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("token", String(16), nullable=False),
    Column("public_key", String(64), nullable=False),
    Column("device", String(64), nullable=False),
    Column("hardware_serial", String(64)),
    Column("region", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("first_s", Float, nullable=False),
    Column("last_s", Float, nullable=False),
    PrimaryKeyConstraint("token", "public_key"),
    Index("enrolments_by_device", "device"),
)

rollup_parts = Table(
    "rollup_parts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("received_s", Float, nullable=False),
    Column("parts", LargeBinary, nullable=False),
)
"""What was taken and is not in the roll-ups yet: one row for each batch of windows."""

rollups_aside = Table(
    "rollups_aside",
    metadata,
    Column("id", Big, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""What cannot be read of them, as it was found: batches that waited, and rows of roll-ups."""

model_rollups = Table(
    "model_rollups",
    metadata,
    Column("resolution", SmallInteger, nullable=False),
    Column("grain", SmallInteger, nullable=False),
    Column("region", String(64), nullable=False),
    Column("start_s", BigInteger, nullable=False),
    Column("model", String(64), nullable=False),
    Column("release", String(128), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("hardware_class", String(256), nullable=False),
    Column("windows", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("memory_windows", BigInteger, nullable=False),
    Column("memory_sum_bytes", Float, nullable=False),
    Column("memory_max_bytes", BigInteger),
    Column("latency", LargeBinary, nullable=False),
    Column("confidence", LargeBinary),
    Column("seen", LargeBinary),
    PrimaryKeyConstraint("resolution", "grain", "region", "start_s", "model", "release", "variant", "hardware_class"),
    sqlite_with_rowid=False,
)

device_rollups = Table(
    "device_rollups",
    metadata,
    Column("resolution", SmallInteger, nullable=False),
    Column("grain", SmallInteger, nullable=False),
    Column("region", String(64), nullable=False),
    Column("start_s", BigInteger, nullable=False),
    Column("hardware_class", String(256), nullable=False),
    Column("windows", BigInteger, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("seen", LargeBinary),
    PrimaryKeyConstraint("resolution", "grain", "region", "start_s", "hardware_class"),
    sqlite_with_rowid=False,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Big, primary_key=True),
    Column("rule", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("cause", String(300), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("next_step", Text, nullable=False),
    Column("subjects", Text, nullable=False),
    Column("since_s", Float, nullable=False),
    Column("opened_s", Float),
    Column("resolved_s", Float),
    Column("gone_s", Float),
    Column("told", Integer, nullable=False),
    Column("acknowledged_s", Float),
    Column("acknowledged_by", String(128)),
    Column("silenced_until_s", Float),
    Column("silenced_by", String(128)),
    Index("alerts_by_status", "status", "opened_s"),
)

region_versions = Table(
    "region_versions",
    metadata,
    Column("region", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("settings", LargeBinary, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("why", Text, nullable=False),
    Column("at_s", Float, nullable=False),
    PrimaryKeyConstraint("region", "version"),
)

region_freezes = Table(
    "region_freezes",
    metadata,
    Column("region", String(64), primary_key=True),
    Column("words", String(300), nullable=False),
    Column("at_s", Float, nullable=False),
)

device_groups = Table(
    "device_groups",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("query", Text, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("at_s", Float, nullable=False),
)

decommissioned = Table(
    "decommissioned",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("region", String(64)),
    Column("actor", String(128), nullable=False),
    Column("why", Text, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("kept", String(16), nullable=False),
    Column("state", LargeBinary),
    Column("spoke_s", Float),
    Column("spoke_kind", String(16)),
)

command_pieces = Table(
    "command_pieces",
    metadata,
    Column("command", Integer, nullable=False),
    Column("piece", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("command", "piece"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("until_s", Float, nullable=False),
)


def _compared(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False),
        Column("device", String(64), nullable=False),
        Column("at_s", Float, nullable=False),
        Column("facts", LargeBinary, nullable=False),
        PrimaryKeyConstraint("rollout", "device"),
    )


comparisons = _compared("comparisons")
later_comparisons = _compared("later_comparisons")
"""By what came in the second half of a stage's soak."""

comparison_drifts = Table(
    "comparison_drifts",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("facts", LargeBinary, nullable=False),
)
"""By how much latency changed meanwhile on devices that kept the model before."""

measurements = Table(
    "measurements",
    metadata,
    Column("release", String(80), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("hardware_class", String(256), nullable=False),
    Column("devices", Integer, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("updated_s", Float, nullable=False),
    PrimaryKeyConstraint("release", "variant", "hardware_class"),
)

processes = Table(
    "processes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("started_s", Float, nullable=False),
    Column("seen_s", Float, nullable=False),
    Column("says", Text, nullable=False),
)
