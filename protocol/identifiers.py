"""Identifiers: scheme and value, brought to one canonical form and then checked.

Two spellings of one number must give the same bytes, since equality of these bytes is all the protocol ever compares.
So a value is folded (NFKC, upper case, letters and digits only) before its scheme's rule sees it, and what the rule
returns is folded again: python-stdnum adds or removes country prefixes and leading zeros (`DE136695976` and
`136695976` are one `de.vat`), and its normal form, not the caller's spelling, becomes the value.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Final

from stdnum import get_cc_module, lei
from stdnum.cn import uscc
from stdnum.exceptions import InvalidChecksum, InvalidComponent, InvalidFormat, InvalidLength

from protocol import labels
from protocol.codec import concat
from protocol.errors import IdentifierError

MAX_VALUE = 128
MAX_SCHEME = 64

CANARY_SCHEME = "xx.canary"

_FREE_SCHEME: Final = re.compile(r"[a-z]{2}\.[a-z0-9_]+")
_STDNUM_NAME: Final = re.compile(r"([a-z]{2}_?\.)?[a-z0-9_]+")

# Modules whose numbers need punctuation or lower case to be valid: canonical form destroys them, so they check nothing
# here. Those with a country are free schemes, the others no schemes at all (tested over every module's examples).
_UNSUPPORTED: Final = frozenset(
    {
        *("at.businessid", "bitcoin", "cz.bankaccount", "de.handelsregisternummer", "de.leitweg", "eu.eic"),
        *("fi.hetu", "fr.rcs", "isil", "mac", "ro.onrc"),
    }
)

_REASONS: Final[dict[type[Exception], str]] = {
    InvalidChecksum: "wrong check digit",
    InvalidComponent: "a part of the number is not valid",
    InvalidFormat: "wrong format",
    InvalidLength: "wrong length",
}

# GB 32100-2015: registering authority and kind of organisation (digit or letter), six digits of the region, nine of
# the organisation, check digit; I, O, S, V and Z are not used.
_USCC: Final = re.compile(r"[0-9A-HJ-NP-RTUWXY]{2}[0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}")


@dataclass(frozen=True)
class Identifier:
    """A subject's number under a scheme, as `canonical` returns it; its repr shows the scheme only."""

    scheme: str
    value: str = field(repr=False)


def canonical(scheme: str, value: str) -> Identifier:
    """Bring an identifier to canonical form and check it.

    `scheme` is the name of a python-stdnum module, whose rule is then applied, or a free scheme `cc.kind`, for which
    any letters and digits will do. An alias of a module (`fr.vat`) becomes the module's own name (`fr.tva`). A `value`
    has at most 128 characters. The result is a fixed point: its own scheme and value give the same identifier again.

    Raises:
        IdentifierError: names the field or the scheme and the reason, never the value.
    """
    module = _module(scheme)
    number = _fold(value)
    if module is None:
        return Identifier(scheme, number)
    name = _name(module)
    check = _OWN_RULES.get(name, module.validate)
    checked = _checked(check, name, number)
    if not checked.isascii() or (checked != number and _checked(check, name, checked) != checked):
        raise IdentifierError(f"{name}: wrong format")
    return Identifier(name, checked)


def canary(party: str) -> Identifier:
    """The identifier of an agency's canary: a subject whose answer everybody knows, for nobody is it."""
    return canonical(CANARY_SCHEME, party)


def check_scheme(scheme: str) -> None:
    """Refuse a scheme that is neither a supported python-stdnum module nor a free one.

    Raises:
        IdentifierError: without repeating the scheme.
    """
    _module(scheme)


def birth_date(identifier: Identifier) -> date | None:
    """The date of birth that a personal number encodes (`cn.ric`, `be.nn`, …); None where it tells none."""
    read = getattr(_module(identifier.scheme), "get_birth_date", None)
    if read is None:
        return None
    try:
        born: date | None = read(identifier.value)
    except (ValueError, LookupError):
        return None
    return born


def to_bytes(identifier: Identifier) -> bytes:
    """Encode injectively, as the input of the OPRF."""
    return concat(labels.IDENTIFIER, identifier.scheme.encode(), identifier.value.encode())


@lru_cache(maxsize=1024)
def _module(scheme: str) -> ModuleType | None:
    """Return the python-stdnum module that checks `scheme`, or None for a free scheme.

    Only a name of the right shape is ever imported, from inside the package, and only a module that validates counts.
    """
    if len(scheme) <= MAX_SCHEME and _STDNUM_NAME.fullmatch(scheme):
        module = _find(scheme)
        if isinstance(module, ModuleType) and hasattr(module, "validate") and _name(module) not in _UNSUPPORTED:
            return module
        if _FREE_SCHEME.fullmatch(scheme):
            return None
    raise IdentifierError("scheme: neither the name of a supported scheme nor of the form cc.kind")


def _find(scheme: str) -> object:
    """Look `scheme` up in python-stdnum; what is found need not be a module."""
    country, dot, name = scheme.rpartition(".")
    if dot:
        return get_cc_module(country, name)
    try:
        return import_module(f"stdnum.{name}")
    except ImportError:
        return None


def _name(module: ModuleType) -> str:
    return module.__name__.removeprefix("stdnum.")


def _checked(check: Callable[[str], str], name: str, number: str) -> str:
    try:
        return _fold(check(number))
    except (ValueError, LookupError) as error:  # some rules let a stray letter raise from int() or a dict
        reason = _REASONS.get(type(error), "wrong format")
    # Outside the handler, so that no exception holding the number is chained to this one.
    raise IdentifierError(f"{name}: {reason}")


def _check_uscc(number: str) -> str:
    """Check a Unified Social Credit Code of any registering authority; stdnum's own rule wants eight leading digits."""
    if len(number) != 18:
        raise InvalidLength
    if not _USCC.fullmatch(number):
        raise InvalidFormat
    if uscc.calc_check_digit(number[:-1]) != number[-1]:
        raise InvalidChecksum
    return number


def _check_lei(number: str) -> str:
    """Check a Legal Entity Identifier (ISO 17442), of exactly 20 characters; stdnum's own rule takes any length."""
    if len(number) != 20:
        raise InvalidLength
    return lei.validate(number)


_OWN_RULES: Final[Mapping[str, Callable[[str], str]]] = {"cn.uscc": _check_uscc, "lei": _check_lei}


def _fold(text: str) -> str:
    """Fold to NFKC, upper case, letters and digits; spaces, punctuation and symbols fall away.

    What is left (control and format characters, surrogates, combining marks without a composed form) is refused
    rather than dropped: dropping it could make two subjects' numbers equal.
    """
    if len(text) > MAX_VALUE:
        raise IdentifierError(f"value: longer than {MAX_VALUE} characters")
    if text.isascii() and text.isalnum():
        return text.upper()  # what the rest comes to; most numbers are of this kind
    kept = []
    for character in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).upper()):
        match unicodedata.category(character)[0]:
            case "L" | "N":
                kept.append(character)
            case "C" | "M":
                raise IdentifierError("value: holds a character that is neither letter, digit, space nor punctuation")
    if not kept:
        raise IdentifierError("value: has no letter or digit")
    # Characters that were apart may compose once they meet; another round then changes nothing more.
    folded = unicodedata.normalize("NFKC", "".join(kept))
    if len(folded) > MAX_VALUE:
        raise IdentifierError(f"value: longer than {MAX_VALUE} characters")
    return folded
