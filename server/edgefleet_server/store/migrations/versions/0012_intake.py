"""A window is one row with what its models counted in it, half as large as two rows; quarters; what cannot be rolled up.

What is there is brought to the new form device by device: some tens of thousands of windows a second.
"""

import json
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from edgefleet_server.telemetry.packed import pack_counts

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

OLD = sa.text(
    "SELECT boot, started_monotonic_s, placed_s, model, release, variant, requests, errors, memory_bytes, latency, confidence "
    "FROM model_windows WHERE device = :device ORDER BY boot, started_monotonic_s, placed_s, model"
)
NEW = sa.text(
    "UPDATE windows SET requests = :requests, models = :models "
    "WHERE device = :device AND boot = :boot AND started_monotonic_s = :started AND placed_s = :placed"
)


def upgrade() -> None:
    """Make the columns and the table, and move the rows."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    none = sa.text("'\\x90'::bytea" if postgresql else "x'90'")
    op.add_column("windows", sa.Column("requests", big, nullable=False, server_default="0"))
    op.add_column("windows", sa.Column("models", sa.LargeBinary(), nullable=False, server_default=none))
    _move()
    op.drop_table("model_windows")
    if postgresql:
        op.execute("DROP SEQUENCE model_windows_number")
    op.create_table(
        "rollups_aside",
        sa.Column("id", big, nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "device_quarters",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("models", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "start_s"),
    )
    op.create_index("device_quarters_by_time", "device_quarters", ["start_s"])


def _move() -> None:
    bind = op.get_bind()
    devices = bind.execute(sa.text("SELECT DISTINCT device FROM model_windows")).scalars().all()
    for device in devices:
        found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for row in bind.execute(OLD, {"device": device}):
            names = (row.model, row.release, row.variant, row.requests, row.errors, row.memory_bytes)
            counts = (*names, _packed(row.latency), None if row.confidence is None else _packed(row.confidence))
            found.setdefault(tuple(row[:3]), []).append(counts)
        rows = [
            {
                "device": device, "boot": boot, "started": started, "placed": placed,
                "requests": sum(counts[3] for counts in some), "models": msgspec.msgpack.encode(some),
            }
            for (boot, started, placed), some in found.items()
        ]  # fmt: skip
        bind.execute(NEW, rows)


def _packed(sketch: bytes) -> bytes:
    row = json.loads(bytes(sketch))
    return pack_counts(row.get("offset", 0), row.get("counts", ()), row.get("zero", 0))
