"""Lives instead of a day of dispute; the audit trail, the index of identifiers, credentials.

What needs the node's key (digests, the trail's first entries) is done when the store is opened: the rows that wait for
it are due on `TO_BRING_OVER`.
"""

import json
from datetime import date

import sqlalchemy as sa
from alembic import op

from nodes.dates import working_days_after

revision = "0002"
down_revision = "0001"

TO_BRING_OVER = date(1, 1, 1)
_ANSWERED_WITHIN = 7

_LISTING = sa.table(
    "listing",
    sa.column("number", sa.Integer),
    sa.column("life", sa.String),
    sa.column("due_on", sa.Date),
    sa.column("disputed_since", sa.Date),
)


def upgrade() -> None:
    """Add what is new; carry open disputes over."""
    op.add_column("listing", sa.Column("life", sa.String))
    op.add_column("listing", sa.Column("due_on", sa.Date))
    op.create_index("ix_listing_due_on", "listing", ["due_on"])
    connection = op.get_bind()
    disputed = sa.select(_LISTING.c.number, _LISTING.c.disputed_since).where(_LISTING.c.disputed_since.is_not(None))
    for number, since in connection.execute(disputed).all():
        due = working_days_after(since, _ANSWERED_WITHIN, None)
        life = json.dumps({"dispute": ["object", since.isoformat(), due.isoformat()]})
        connection.execute(sa.update(_LISTING).where(_LISTING.c.number == number).values(life=life))
    connection.execute(sa.update(_LISTING).values(due_on=TO_BRING_OVER))
    op.drop_column("listing", "disputed_since")
    op.create_table(
        "identifier",
        sa.Column("listing", sa.Integer, sa.ForeignKey("listing.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True, index=True),
    )
    op.create_table(
        "event",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("register_id", sa.String, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False, index=True),
        sa.Column("act", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("details", sa.LargeBinary),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "credential",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("identifiers", sa.LargeBinary),
    )


def downgrade() -> None:
    """Drop what is new: trail, credentials, and of lives all but the day of a dispute.

    A listing that has ended, is suspended or is a draft would count again, which version 0001 has no word for: such
    listings are erased.
    """
    op.add_column("listing", sa.Column("disputed_since", sa.Date))
    connection = op.get_bind()
    lived = sa.select(_LISTING.c.number, _LISTING.c.life).where(_LISTING.c.life.is_not(None))
    for number, text in connection.execute(lived).all():
        life = json.loads(text)
        row = _LISTING.c.number == number
        if life.keys() & {"ended", "suspended_on", "serve_by"}:
            connection.execute(sa.delete(_LISTING).where(row))
        elif "dispute" in life:
            since = date.fromisoformat(life["dispute"][1])
            connection.execute(sa.update(_LISTING).where(row).values(disputed_since=since))
    for table in ("credential", "event", "identifier"):
        op.drop_table(table)
    op.drop_index("ix_listing_due_on", "listing")
    op.drop_column("listing", "due_on")
    op.drop_column("listing", "life")
