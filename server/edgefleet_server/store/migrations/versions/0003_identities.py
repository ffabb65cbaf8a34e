"""Who a device is: certificates, the tokens that let devices in, and who came with them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of identities."""
    op.create_table(
        "identities",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("issued_s", sa.Float(), nullable=False),
        sa.Column("not_after_s", sa.Float(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("replaces", sa.String(length=40), nullable=True),
        sa.Column("confirmed_s", sa.Float(), nullable=True),
        sa.Column("revoked_s", sa.Float(), nullable=True),
        sa.Column("token", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("identities_by_device", "identities", ["device"])
    op.create_index("identities_by_key", "identities", ["public_key"])
    op.create_index("identities_by_predecessor", "identities", ["replaces"])
    op.create_table(
        "enrol_tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("expires_s", sa.Float(), nullable=False),
        sa.Column("cap", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=True),
        sa.Column("allowed", sa.Text(), nullable=False),
        sa.Column("approve", sa.Boolean(), nullable=False),
        sa.Column("revoked_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "enrolments",
        sa.Column("token", sa.String(length=16), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("hardware_serial", sa.String(length=64), nullable=True),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("first_s", sa.Float(), nullable=False),
        sa.Column("last_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("token", "public_key"),
    )
    op.create_index("enrolments_by_device", "enrolments", ["device"])
