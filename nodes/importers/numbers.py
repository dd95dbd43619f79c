"""Which scheme a published number has, by what it is called and the country it is of.

Published lists name a number ("tax number", "registration") and a country, not a scheme. The tables say which schemes
to try. A number that no scheme of its kind and country accepts is dropped, and so is one that is unique only within a
place that is not named (a court, an emirate, a US state, a Mexican or Colombian trade register, an Iranian registry):
it would hit strangers. Free schemes under `xx`, which ISO 3166 leaves to its users, belong to no country: `xx.duns`,
and `xx.imo_company`, since companies' IMO numbers do not follow the rule of ships'.
"""

import re
from typing import Final

from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical

# The schemes to try, in order, by kind and country (ISO 3166, or None): the first whose rule the number satisfies.
SCHEMES: Final[dict[tuple[str, str | None], tuple[str, ...]]] = {
    ("BIC", None): ("bic",),
    ("BIK", None): ("ru.bik",),
    ("DUNS", None): ("xx.duns",),
    ("USCC", None): ("cn.uscc",),
    ("USCC", "cn"): ("cn.uscc",),
    ("company IMO", None): ("xx.imo_company",),
    ("legal entity", None): ("lei",),
    ("legal entity", "nl"): ("lei", "nl.rsin"),
    ("legal entity", "ru"): ("lei",),
    ("tax", "ar"): ("ar.cuit",),
    ("tax", "by"): ("by.unp",),
    ("tax", "ca"): ("ca.bn",),
    ("tax", "ch"): ("ch.uid",),
    ("tax", "co"): ("co.nit",),
    ("tax", "cy"): ("cy.vat",),
    ("tax", "do"): ("do.rnc",),
    ("tax", "ec"): ("ec.ruc",),
    ("tax", "es"): ("es.cif",),
    ("tax", "gt"): ("gt.nit",),
    ("tax", "hn"): ("hn.rtn",),
    ("tax", "hr"): ("hr.oib",),
    ("tax", "it"): ("it.iva",),
    ("tax", "mt"): ("mt.vat",),
    ("tax", "mx"): ("mx.rfc",),
    ("tax", "nl"): ("nl.btw",),
    ("tax", "pa"): ("pa.ruc",),
    ("tax", "pe"): ("pe.ruc",),
    ("tax", "rs"): ("rs.pib",),
    ("tax", "ru"): ("ru.inn",),
    ("tax", "si"): ("si.ddv",),
    ("tax", "sk"): ("sk.dph",),
    ("tax", "tr"): ("tr.vkn",),
    ("tax", "us"): ("us.ein",),
    ("tax", "ve"): ("ve.rif",),
    ("register", "be"): ("be.vat",),
    ("register", "ch"): ("ch.uid", "ch.register"),
    ("register", "cy"): ("cy.company",),
    ("register", "gb"): ("gb.company",),
    ("register", "gt"): ("gt.company",),
    ("register", "hk"): ("hk.company",),
    ("register", "il"): ("il.hp",),
    ("register", "mt"): ("mt.company",),
    ("register", "nl"): ("nl.kvk",),
    ("register", "rs"): ("rs.maticni",),
    ("register", "ru"): ("ru.ogrn", "ru.inn", "ru.okpo"),
    ("register", "sg"): ("sg.uen",),
    ("register", "si"): ("si.maticna",),
    ("register", "tw"): ("tw.ubn",),
    ("register", "ua"): ("ua.edrpou",),
    ("register", "vg"): ("vg.company",),
    # Of persons only numbers that their length and check digits tell from a passport's.
    ("personal", "be"): ("be.nn",),
    ("personal", "bg"): ("bg.egn",),
    ("personal", "br"): ("br.cpf",),
    ("personal", "cn"): ("cn.ric",),
    ("personal", "ee"): ("ee.ik",),
    ("personal", "hr"): ("hr.oib",),
    ("personal", "it"): ("it.codicefiscale",),
    ("personal", "kr"): ("kr.rrn",),
    ("personal", "lt"): ("lt.asmens",),
    ("personal", "mx"): ("mx.curp",),
    ("personal", "pl"): ("pl.pesel",),
    ("personal", "ro"): ("ro.cnp",),
    ("personal", "tr"): ("tr.tckimlik",),
    ("personal", "za"): ("za.idnr",),
}

# The form of the numbers that no python-stdnum module checks.
FREE: Final = {
    "ch.register": r"CH\d{11}",
    "cy.company": r"(HE|C)\d+",
    "gb.company": r"[A-Z]{0,2}\d{6,8}",
    "gt.company": r"\d{4,}",
    "hk.company": r"\d{5,8}",
    "hn.rtn": r"\d{14}",
    "mt.company": r"C\d+",
    "nl.kvk": r"\d{8}",
    "nl.rsin": r"\d{9}",
    "pa.ruc": r"\d{6,}(DV\d+)?",
    "rs.maticni": r"\d{8}",
    "ru.bik": r"\d{9}",
    "ru.okpo": r"\d{8}",
    "vg.company": r"\d{5,}",
    "xx.duns": r"\d{9}",
    "xx.imo_company": r"\d{7}",
}


def identified(value: str, schemes: tuple[str, ...]) -> Identifier | None:
    """The number under the first of these schemes whose rule it satisfies, or None."""
    return next(filter(None, (_under(scheme, value) for scheme in schemes)), None)


def _under(scheme: str, value: str) -> Identifier | None:
    try:
        identifier = canonical(scheme, value)
    except IdentifierError:
        return None
    form = FREE.get(scheme)
    return identifier if form is None or re.fullmatch(form, identifier.value) else None
