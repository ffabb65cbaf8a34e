"""Regions in versions, freezes, groups, devices that are gone, and long answers."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and columns."""
    op.create_table(
        "region_versions",
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("region", "version"),
    )
    op.create_table(
        "region_freezes",
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("words", sa.String(length=300), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("region"),
    )
    op.create_table(
        "device_groups",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "decommissioned",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("kept", sa.String(length=16), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("spoke_s", sa.Float(), nullable=True),
        sa.Column("spoke_kind", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "command_pieces",
        sa.Column("command", sa.Integer(), nullable=False),
        sa.Column("piece", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("command", "piece"),
    )
    op.add_column("devices", sa.Column("frozen", sa.String(length=300), nullable=True))
    op.add_column("devices", sa.Column("counts_from_s", sa.Float(), nullable=True))
    op.add_column("commands", sa.Column("working_s", sa.Float(), nullable=True))
    op.add_column("commands", sa.Column("data", sa.LargeBinary(), nullable=True))
