"""Who may move rollouts, waves and approvals, and what devices said of two models."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and columns."""
    op.add_column("rollouts", sa.Column("approved", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("rollouts", sa.Column("waves", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("devices", sa.Column("joined_s", sa.Float(), nullable=True))
    op.add_column("model_windows", sa.Column("confidence", sa.LargeBinary(), nullable=True))
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("until_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "comparisons",
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("rollout", "device"),
    )
    op.create_table(
        "measurements",
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("variant", sa.String(length=64), nullable=False),
        sa.Column("hardware_class", sa.String(length=256), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("updated_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("release", "variant", "hardware_class"),
    )
