"""Days: terms in months or days, and working days by a country's calendar."""

import calendar as months
from datetime import date
from functools import lru_cache

import holidays


@lru_cache(maxsize=4096)
def months_after(start: date, count: int) -> date:
    """The same day of the month `count` months later, or that month's last day where it has no such day."""
    year, month = divmod(start.year * 12 + start.month - 1 + count, 12)
    return date(year, month + 1, min(start.day, months.monthrange(year, month + 1)[1]))


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
