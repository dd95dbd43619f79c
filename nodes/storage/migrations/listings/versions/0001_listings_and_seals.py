"""Listings, their seals, what waits to be sealed, and canaries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "listing",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("register_id", sa.String, nullable=False, index=True),
        sa.Column("content", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("identifiers", sa.Integer, nullable=False),
        sa.Column("disputed_since", sa.Date),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "seal",
        sa.Column("listing", sa.Integer, sa.ForeignKey("listing.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("agreement", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("prefix", sa.BigInteger, nullable=False),
        sa.Column("pseudonym", sa.LargeBinary, nullable=False),
        sa.Index("seal_bucket", "agreement", "epoch", "prefix"),
    )
    op.create_table(
        "pending",
        sa.Column("agreement", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("listing", sa.Integer, sa.ForeignKey("listing.number", ondelete="CASCADE"), primary_key=True),
        sa.Index("pending_listing", "listing"),
    )
    op.create_table(
        "canary",
        sa.Column("agreement", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("prefix", sa.BigInteger, nullable=False),
        sa.Column("pseudonym", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("canary", "pending", "seal", "listing"):
        op.drop_table(table)
