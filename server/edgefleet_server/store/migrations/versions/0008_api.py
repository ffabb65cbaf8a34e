"""Idempotency keys, and what devices run and do in columns that a list can be filtered by."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of answers; fill the columns from the states that are there."""
    op.create_table(
        "answers",
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("actor", "key"),
    )
    op.create_index("answers_by_time", "answers", ["at_s"])
    op.add_column("devices", sa.Column("runs", sa.Text(), nullable=True))
    op.add_column("devices", sa.Column("phases", sa.Text(), nullable=True))
    connection = op.get_bind()
    devices = sa.table(
        "devices", sa.column("id"), sa.column("state", sa.LargeBinary), sa.column("runs"), sa.column("phases")
    )
    for name, state in connection.execute(sa.select(devices.c.id, devices.c.state)).all():
        try:
            models = json.loads(state)["models"] if state else []
            runs = {row["model"] for row in models}
            for row in models:
                if running := row.get("running"):
                    runs |= {running["release"], f"{running['release']}/{running['variant']}"}
            phases = {row.get("phase", "idle") for row in models}
        except (ValueError, KeyError, TypeError, AttributeError):  # a state that this version cannot read
            continue
        values = {"runs": f" {' '.join(sorted(runs))} ", "phases": f" {' '.join(sorted(phases))} "}
        connection.execute(sa.update(devices).where(devices.c.id == name).values(**values))
