"""The life of a listing: its state is computed when a question comes, so nothing has to run for a term to end.

Notified from service to the last day of the objection window, then active (or disputed) to the last day of the term.
"""

from datetime import date
from enum import Enum
from functools import lru_cache

import holidays

from nodes.catalogue import CatalogueEntry
from nodes.listings import Listing, last_day


class State(Enum):
    """Where a listing stands on one day; only ACTIVE restricts, DISPUTED can at most flag, the others are invisible."""

    NOTIFIED = "notified"
    ACTIVE = "active"
    DISPUTED = "disputed"
    EXPIRED = "expired"


def state(listing: Listing, entry: CatalogueEntry, on: date) -> State:
    """The state of a checked listing on the day `on`.

    The window is the first ten working days after the day of service (`entry.notice.window`); a listing is active from
    the day after the last of them. Where official publication counts as service it is active from the day of service.
    It has effect through `last_day`, inclusive, and is disputed from `disputed_since`, inclusive.
    """
    if on > last_day(listing, entry):
        return State.EXPIRED
    if not _is_effective(listing, entry, on):
        return State.NOTIFIED
    if listing.disputed_since is not None and on >= listing.disputed_since:
        return State.DISPUTED
    return State.ACTIVE


def _is_effective(listing: Listing, entry: CatalogueEntry, on: date) -> bool:
    window = entry.notice.window
    if window is None:
        return on >= listing.served_on
    return on > working_days_after(listing.served_on, window.value, entry.calendar)


@lru_cache(maxsize=4096)
def working_days_after(day: date, count: int, calendar: str | None) -> date:
    """The `count`-th working day after `day`: Monday to Friday, less the public holidays of `calendar` if one is named.

    The calendar's country also says which days are its weekend, and which weekends it works.
    """
    days = holidays.HolidayBase() if calendar is None else _country(calendar)
    return days.get_nth_working_day(day, count)


@lru_cache
def _country(calendar: str) -> holidays.HolidayBase:
    return holidays.country_holidays(calendar)
