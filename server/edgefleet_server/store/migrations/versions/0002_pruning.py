"""What is kept for days only must be found by its age."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index windows by when they were, for every device at once."""
    op.create_index("windows_by_time", "windows", ["placed_s"])
    op.create_index("model_windows_by_time", "model_windows", ["placed_s"])
