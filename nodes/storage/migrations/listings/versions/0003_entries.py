"""Seals hold what a question needs: a key derived from the pseudonym, and a summary of the listing.

What needs the node's key is done when the store is opened: the rows that wait for it are due on `TO_SUMMARISE`.
"""

from datetime import date

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TO_BRING_OVER = date(1, 1, 1)
TO_SUMMARISE = date(1, 1, 2)

_LISTING = sa.table("listing", sa.column("number", sa.Integer), sa.column("due_on", sa.Date))
_SEAL = sa.table("seal", sa.column("listing", sa.Integer))


def upgrade() -> None:
    """Let all that is sealed wait to be summarised."""
    op.execute("ALTER TABLE seal RENAME COLUMN pseudonym TO entry")
    # What still waits for what 0002 left is summarised after it.
    waits = sa.func.coalesce(_LISTING.c.due_on, date.max) > TO_BRING_OVER
    is_sealed = _LISTING.c.number.in_(sa.select(_SEAL.c.listing))
    op.execute(sa.update(_LISTING).where(is_sealed, waits).values(due_on=TO_SUMMARISE))


def downgrade() -> None:
    """Let all that is sealed wait to be sealed again: a pseudonym does not follow from what was derived from it."""
    op.execute(
        "INSERT INTO pending (agreement, epoch, listing) "
        "SELECT DISTINCT seal.agreement, seal.epoch, seal.listing FROM seal "
        "JOIN canary ON canary.agreement = seal.agreement AND canary.epoch = seal.epoch "
        "WHERE NOT EXISTS (SELECT * FROM pending WHERE pending.agreement = seal.agreement "
        "AND pending.epoch = seal.epoch AND pending.listing = seal.listing)"
    )
    op.execute("DELETE FROM seal")
    op.execute("ALTER TABLE seal RENAME COLUMN entry TO pseudonym")
