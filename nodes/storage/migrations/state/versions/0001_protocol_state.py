"""Sessions, openings, quotas and the log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "session",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("sender", sa.String, primary_key=True),
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "opening",
        sa.Column("requester", sa.String, primary_key=True),
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("chunk", sa.Integer, primary_key=True),
        sa.Column("x_digest", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "charge",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("sender", sa.String, primary_key=True),
        sa.Column("period", sa.String, primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("m", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("log", "charge", "opening", "session"):
        op.drop_table(table)
