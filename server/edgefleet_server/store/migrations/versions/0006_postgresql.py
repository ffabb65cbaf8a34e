"""PostgreSQL: numbers that may pass 2**31, and telemetry in partitions by day. SQLite's numbers are large enough, and it has none."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = {
    "devices": ("session", "assigned_number", "dropped_windows"),
    "events": ("number",),
    "commands": ("id", "number"),
    "retained": ("bytes",),
    "audit": ("id",),
    "moves": ("id",),
    "alerts": ("id",),
}


def upgrade() -> None:
    """Widen the numbers, and make the tables of windows anew: there is no PostgreSQL database with windows before this form."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, columns in BIG.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.BigInteger())
    op.execute("CREATE SEQUENCE windows_number")
    op.execute("CREATE SEQUENCE model_windows_number")
    op.execute("DROP TABLE model_windows")
    op.execute("DROP TABLE windows")
    # A key of a partitioned table has the partition's column in it. What its own clock places lies at one place for ever; what
    # is placed by its arrival is kept once by the third table.
    op.execute(
        """
        CREATE TABLE windows (
            device text NOT NULL, boot text NOT NULL, started_monotonic_s double precision NOT NULL,
            placed_s double precision NOT NULL, seconds double precision NOT NULL, received_s double precision NOT NULL,
            facts bytea NOT NULL, number bigint NOT NULL DEFAULT nextval('windows_number'),
            PRIMARY KEY (device, boot, started_monotonic_s, placed_s)
        ) PARTITION BY RANGE (placed_s)
        """
    )
    op.execute("CREATE INDEX windows_by_device ON windows (device, placed_s)")
    op.execute("CREATE INDEX windows_by_number ON windows USING brin (number) WITH (autosummarize = on)")
    op.execute(
        """
        CREATE TABLE model_windows (
            device text NOT NULL, boot text NOT NULL, started_monotonic_s double precision NOT NULL, model text NOT NULL,
            placed_s double precision NOT NULL, release text NOT NULL, variant text NOT NULL, requests bigint NOT NULL,
            errors bigint NOT NULL, latency bytea NOT NULL, p50_s double precision, p95_s double precision, memory_bytes bigint,
            number bigint NOT NULL DEFAULT nextval('model_windows_number'),
            PRIMARY KEY (device, boot, started_monotonic_s, model, placed_s)
        ) PARTITION BY RANGE (placed_s)
        """
    )
    op.execute("CREATE INDEX model_windows_by_device ON model_windows (device, model, placed_s)")
    op.execute("CREATE INDEX model_windows_by_number ON model_windows USING brin (number) WITH (autosummarize = on)")
    op.execute(
        """
        CREATE TABLE windows_placed_by_arrival (
            device text NOT NULL, boot text NOT NULL, started_monotonic_s double precision NOT NULL,
            placed_s double precision NOT NULL,
            PRIMARY KEY (device, boot, started_monotonic_s)
        )
        """
    )
