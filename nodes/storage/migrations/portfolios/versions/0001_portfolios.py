"""Portfolios, their subjects, and what changed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "portfolio",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("subjects", sa.Integer, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("delivered", sa.Integer),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "subject",
        sa.Column("portfolio", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False, index=True),
        sa.Column("lapses", sa.BigInteger, index=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["portfolio"], ["portfolio.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "change",
        sa.Column("portfolio", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["portfolio"], ["portfolio.id"], ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("change", "subject", "portfolio"):
        op.drop_table(table)
