"""Opening a quarter's figures as the coordinator, with its keys and on its database, beside its running service."""

import time
from datetime import UTC, datetime
from typing import Final

from api.settings import Settings
from federation.figures import FiguresOpener
from federation.transport import HttpTransport
from nodes.figures import figures_layout
from nodes.storage.engine import open_engine
from nodes.storage.figures import Publications
from protocol.agreement.roster import COORDINATOR
from protocol.errors import NotGrantedError
from protocol.figures import Quarter

SECONDS: Final = 300.0
"""How long an agency may take to count its registers."""


async def open_quarter(settings: Settings, quarter: Quarter) -> bytes:
    """Open a quarter's figures and publish them; returns the signed message, which is the first if there is one.

    Raises:
        NotGrantedError: the quarter is not over.
        IndeterminateError: names who did not answer.
    """
    if quarter.last >= datetime.now(UTC).date():
        raise NotGrantedError("the quarter is not over")
    terms, publications = settings.terms, Publications(open_engine(settings.database("state")))
    agreement = terms.agreement.id
    if (published := publications.all(agreement).get(str(quarter))) is not None:
        return published
    transport = HttpTransport(settings.parties, SECONDS)
    held, _ = settings.secrets()
    party = held.party(COORDINATOR, terms)
    try:
        opener = FiguresOpener(party, transport, figures_layout(terms), lambda: int(time.time()))
        return publications.publish(agreement, quarter, await opener.open(quarter))
    finally:
        await transport.close()
