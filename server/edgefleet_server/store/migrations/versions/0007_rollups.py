"""Roll-ups of telemetry by minute, hour and day, and what waits to be rolled up."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "rollup_parts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("parts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "model_rollups",
        sa.Column("resolution", sa.SmallInteger(), nullable=False),
        sa.Column("grain", sa.SmallInteger(), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=128), nullable=False),
        sa.Column("variant", sa.String(length=64), nullable=False),
        sa.Column("hardware_class", sa.String(length=256), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("memory_windows", sa.BigInteger(), nullable=False),
        sa.Column("memory_sum_bytes", sa.Float(), nullable=False),
        sa.Column("memory_max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("latency", sa.LargeBinary(), nullable=False),
        sa.Column("confidence", sa.LargeBinary(), nullable=True),
        sa.Column("seen", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint(
            "resolution", "grain", "region", "start_s", "model", "release", "variant", "hardware_class"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_rollups",
        sa.Column("resolution", sa.SmallInteger(), nullable=False),
        sa.Column("grain", sa.SmallInteger(), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("hardware_class", sa.String(length=256), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("resolution", "grain", "region", "start_s", "hardware_class"),
        sqlite_with_rowid=False,
    )
