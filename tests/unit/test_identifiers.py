"""Two spellings of one number give one identifier, two numbers never do, and errors tell nothing of a value."""

import doctest
import re
import traceback
from datetime import date
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import uscc
from stdnum.util import get_number_modules

from protocol import identifiers
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, birth_date, canonical, check_scheme, to_bytes

USCC = "91110000600037341L"
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})


def name_of(module: object) -> str:
    assert isinstance(module, ModuleType)
    return module.__name__.removeprefix("stdnum.")


def examples() -> list[tuple[str, str, str]]:
    """Module, spelling and stdnum's own normal form of every valid number in python-stdnum's documentation."""
    found = []
    for module in get_number_modules():
        for example in doctest.DocTestParser().get_examples(module.__doc__ or ""):
            call = re.match(r"validate\((['\"])([^'\"]*)\1\)", example.source)
            if call and not example.exc_msg and "Traceback" not in example.want:
                found.append((name_of(module), call[2], module.validate(call[2])))
    return found


EXAMPLES = [example for example in examples() if "." not in example[0] or re.match(r"[a-z]{2}_?\.", example[0])]


def outcome(scheme: str, value: str) -> Identifier | None:
    try:
        return canonical(scheme, value)
    except IdentifierError:
        return None


class TestCanonicalForm:
    def test_there_are_examples_of_most_of_stdnum(self) -> None:
        assert len(EXAMPLES) > 300

    def test_every_stdnum_number_is_a_fixed_point(self) -> None:
        for scheme, spelling, normal in EXAMPLES:
            if scheme not in identifiers._UNSUPPORTED:
                identifier = canonical(scheme, normal)
                assert canonical(identifier.scheme, identifier.value) == identifier
                assert re.fullmatch("[0-9A-Z]+", identifier.value)
                # A spelling is understood as the same number or refused, never taken for another.
                assert outcome(scheme, spelling) in (identifier, None)

    def test_what_is_unsupported_does_not_survive_canonical_form(self) -> None:
        """The twin: each module in the list fails on at least one of its own examples."""
        failing = set()
        for module in get_number_modules():
            for scheme, _, normal in EXAMPLES:
                if scheme == name_of(module):
                    try:
                        module.validate(identifiers._fold(normal))
                    except ValueError:
                        failing.add(scheme)
        assert failing == identifiers._UNSUPPORTED

    @pytest.mark.parametrize(
        "spelling", [USCC.lower(), "9111 0000-6000.3734/1l", USCC.translate(FULL_WIDTH), f" {USCC}\u3000"]
    )
    def test_spellings_give_the_same_bytes(self, spelling: str) -> None:
        assert to_bytes(canonical("cn.uscc", spelling)) == to_bytes(canonical("cn.uscc", USCC))
        assert canonical("cn.free", spelling).value == USCC

    @pytest.mark.parametrize(
        ("scheme", "spellings"),
        [
            ("de.vat", ["DE 136695976", "136695976"]),
            ("be.vat", ["BE 428759497", "0428759497", "428.759.497"]),
            ("imo", ["IMO 9319466", "9319466"]),
            ("eg.tn", ["٣٣١-١٠٥-٢٦٨", "331105268"]),
            ("no.kontonr", ["0000.4090403", "4090403"]),
        ],
    )
    def test_prefixes_and_leading_zeros_make_no_other_number(self, scheme: str, spellings: list[str]) -> None:
        assert len({canonical(scheme, spelling) for spelling in spellings}) == 1

    def test_without_folding_the_result_again_prefixes_would_split_a_subject(self) -> None:
        """The twin: the caller's own spelling, folded, differs where stdnum's normal form does not."""
        assert identifiers._fold("DE 136695976") != identifiers._fold("136695976")

    def test_an_unstable_normal_form_is_refused(self) -> None:
        """`no.kontonr` strips four zeros a round, so a number with eight of them would have two forms."""
        assert outcome("no.kontonr", "000000004090403") is None

    def test_a_rule_that_lets_other_scripts_through_is_refused(self) -> None:
        assert outcome("eu.excise", "LU 987ABC") is not None
        assert outcome("eu.excise", "LU 987京BC") is None

    @given(st.text(max_size=40))
    def test_any_text_is_refused_or_a_fixed_point(self, text: str) -> None:
        identifier = outcome("zz.free", text)
        if identifier is not None:
            assert canonical("zz.free", identifier.value) == identifier
            assert outcome("zz.free", f"-{text} ") == identifier

    @given(st.text("0123456789ABCXYZΩ京²٣", min_size=1, max_size=20), st.sampled_from(sorted({e[0] for e in EXAMPLES})))
    def test_no_rule_fails_otherwise_than_by_refusing(self, text: str, scheme: str) -> None:
        identifier = outcome(scheme, text)
        assert identifier is None or canonical(identifier.scheme, identifier.value) == identifier

    @given(st.from_regex("[0-9A-Za-z]{1,40}", fullmatch=True))
    def test_plain_letters_and_digits_take_a_shorter_way_to_the_same_form(self, text: str) -> None:
        assert identifiers._fold(text) == identifiers._fold(f"{text} ")

    def test_letters_that_compose_once_punctuation_is_gone_are_stable(self) -> None:
        assert canonical("zz.free", "\u1100-\u1161").value == "가"


class TestUscc:
    @given(
        st.text(uscc._alphabet, min_size=2, max_size=2),
        st.text("0123456789", min_size=6, max_size=6),
        st.text(uscc._alphabet, min_size=9, max_size=9),
    )
    def test_every_registering_authority_is_accepted(self, authority: str, region: str, organisation: str) -> None:
        body = authority + region + organisation
        number = body + uscc.calc_check_digit(body)
        assert canonical("cn.uscc", number).value == number
        wrong = uscc._alphabet[(uscc._alphabet.index(number[-1]) + 1) % 31]
        with pytest.raises(IdentifierError, match="wrong check digit"):
            canonical("cn.uscc", body + wrong)

    def test_stdnum_alone_refuses_letters_in_front(self) -> None:
        """The twin: why the rule is our own."""
        number = "A1110000600037341" + uscc.calc_check_digit("A1110000600037341")
        assert not uscc.is_valid(number)
        assert canonical("cn.uscc", number).value == number

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("12345", "wrong length"),
            ("I1110000600037341L", "wrong format"),
            ("91A10000600037341L", "wrong format"),
            ("91110000600037341M", "wrong check digit"),
        ],
    )
    def test_refusals_say_why(self, value: str, reason: str) -> None:
        with pytest.raises(IdentifierError, match=f"^cn.uscc: {reason}$"):
            canonical("cn.uscc", value)


class TestSchemes:
    @pytest.mark.parametrize(
        "scheme",
        [
            *("", "x", "cn", "stdnum", "CN.uscc", "cn.uscc ", "cn.uscc\n", "cn..uscc", "cn.a-b", "c1.kind"),
            *("os", "sys", "os.path.join", "util", "exceptions", "numdb", "../lei", "cn.uscc.validate"),
            *("iso7064.mod_97_10", "bitcoin", "ab." + "c" * 62),
        ],
    )
    def test_anything_else_is_malformed(self, scheme: str) -> None:
        with pytest.raises(IdentifierError, match=r"^scheme: "):
            check_scheme(scheme)

    @pytest.mark.parametrize("scheme", ["cn.uscc", "lei", "xx.duns", "cn.__file__", "cn.datetime", "os.path", "zz.0"])
    def test_modules_and_free_schemes_are_accepted(self, scheme: str) -> None:
        check_scheme(scheme)

    @pytest.mark.parametrize(("alias", "name"), [("es.vat", "es.nif"), ("fr.vat", "fr.tva"), ("in.pan", "in_.pan")])
    def test_an_alias_is_its_module(self, alias: str, name: str) -> None:
        value = {"es.nif": "54362315K", "fr.tva": "40303265045", "in_.pan": "ACUPA7085R"}[name]
        assert canonical(alias, value) == canonical(name, value) == Identifier(name, value)


class TestErrorsAndSecrets:
    @pytest.mark.parametrize(
        ("scheme", "value"),
        [
            ("zz.free", "  -/. "),
            ("zz.free", "SECRET7\x00"),
            ("zz.free", "SECRET7\u200b"),
            ("zz.free", "SECRET7\ud800"),
            ("zz.free", "SECRET7X\u0301"),
            ("zz.free", "SECRET7" * 19),
            ("zz.free", "SECRET7" + "\ufdfa" * 20),
            ("cn.ric", "SECRET7"),
            ("gh.tin", "PSECRET7XYZ"),
            ("lei", "SECRET7"),
            ("zz-SECRET7", "1"),
        ],
    )
    def test_no_trace_of_the_value(self, scheme: str, value: str) -> None:
        with pytest.raises(IdentifierError) as caught:
            canonical(scheme, value)
        error: BaseException | None = caught.value
        assert "SECRET7" not in "".join(traceback.format_exception_only(caught.value))
        while error is not None:
            assert "SECRET7" not in str(error)
            error = error.__context__

    def test_repr_shows_the_scheme_alone(self) -> None:
        assert repr(canonical("cn.uscc", USCC)) == "Identifier(scheme='cn.uscc')"


class TestBytes:
    @given(st.tuples(*[st.text("ab.1", max_size=4)] * 2), st.tuples(*[st.text("ab.1", max_size=4)] * 2))
    def test_encoding_is_injective(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        assert (to_bytes(Identifier(*one)) == to_bytes(Identifier(*other))) == (one == other)

    def test_plain_concatenation_would_collide(self) -> None:
        """The twin: why every part stands behind its length."""
        one, other = Identifier("ab.c", "1X"), Identifier("ab.c1", "X")
        assert one.scheme + one.value == other.scheme + other.value
        assert to_bytes(one) != to_bytes(other)


def test_a_legal_entity_identifier_has_twenty_characters() -> None:
    """python-stdnum checks its digits only: `1` would pass."""
    for value in ("1", "213800KUD8LAJWSQ9D150"):
        with pytest.raises(IdentifierError, match="lei: wrong length"):
            canonical("lei", value)


class TestBirthDate:
    @pytest.mark.parametrize(
        ("scheme", "value", "born"),
        [
            ("cn.ric", "360426199101010071", date(1991, 1, 1)),
            ("lei", "213800KUD8LAJWSQ9D15", None),
            ("zz.free", "19910101", None),
        ],
    )
    def test_is_read_where_the_number_tells(self, scheme: str, value: str, born: date | None) -> None:
        assert birth_date(canonical(scheme, value)) == born

    def test_a_number_that_tells_no_valid_date_has_none(self) -> None:
        assert birth_date(Identifier("cn.ric", "360426199113320071")) is None
