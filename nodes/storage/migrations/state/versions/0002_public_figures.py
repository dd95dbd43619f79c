"""What an agency contributed to public figures, and what a coordinator published."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "contribution",
        sa.Column("agreement", sa.String, primary_key=True),
        sa.Column("quarter", sa.String, primary_key=True),
        sa.Column("cells", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("numbers", sa.LargeBinary, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "published",
        sa.Column("agreement", sa.String, primary_key=True),
        sa.Column("quarter", sa.String, primary_key=True),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop them.

    What was contributed is forgotten, and what it cost is not: a quarter that is asked for again is drawn anew only if
    the year's budget covers it a second time.
    """
    op.drop_table("published")
    op.drop_table("contribution")
