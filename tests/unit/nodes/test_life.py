"""What may happen to a listing: every step from every state is allowed, or refused with its reason."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

import pytest

from nodes.catalogue import CatalogueEntry, load_catalogue
from nodes.life import MAX_TEXT, Act, Author, Transition, TransitionError, apply, check_form, replay
from nodes.lifecycle import Clock, Life, Record, State, record_of, state
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import noon

DEBARMENT = load_catalogue()["debarment"]
SANCTIONS = load_catalogue()["sanctions"]
POINTS = load_catalogue()["civic-points"]
SERVED = date(2026, 1, 9)
DAY = date(2027, 3, 1)  # a Monday, after the window and a third of the term
LATER = date(2027, 6, 1)

LISTING = make_listing()
ACTIVE = record_of(LISTING)
DISPUTED = Record(LISTING, Life(SERVED, dispute=Clock("object", DAY, LATER)))
RECORDS: Final = {
    State.DRAFT: Record(make_listing(served_on=None), Life(None, serve_by=DAY)),
    State.NOTIFIED: record_of(make_listing(served_on=DAY - timedelta(days=3))),
    State.ACTIVE: ACTIVE,
    State.DISPUTED: DISPUTED,
    State.SUSPENDED: Record(LISTING, Life(SERVED, suspended_on=DAY)),
    State.REPAIRED: Record(LISTING, Life(SERVED, ended=State.REPAIRED, ended_on=DAY, ended_by="repair")),
    State.EXPIRED: record_of(make_listing(decided_on=date(2020, 1, 6), served_on=date(2020, 1, 7))),
    State.REVOKED: Record(LISTING, Life(SERVED, ended=State.REVOKED, ended_on=DAY, ended_by="revoke")),
    State.CORRECTED: Record(LISTING, Life(SERVED, ended=State.CORRECTED, ended_on=DAY, replaced_by="00" * 16)),
}

OPEN, NONE_OPEN = "an objection or request for correction is open", "no objection or request for correction is open"
NO_REPAIR, NO_RENEWAL = "no request for repair is open", "only a new official publication renews"
NO_LEAVING, NO_STEP = "only an opt-in scheme or an official list is left", "not from the state"

# What follows from each state: the state after the step, or the reason of the refusal; `-`: not from this state.
TABLE: Final = """
                    draft     notified   active     disputed   suspended  repaired  expired     revoked     corrected
enter               -         -          -          -          -          -         -           -           -
serve               notified  -          -          -          -          -         -           -           -
object              -         notified   disputed   OPEN       suspended  -         -           -           -
request-correction  -         notified   disputed   OPEN       suspended  -         -           -           -
reject              -         NONE_OPEN  NONE_OPEN  active     NONE_OPEN  -         -           -           -
correct             corrected corrected  corrected  corrected  corrected  -         -           -           -
revoke              revoked   revoked    revoked    revoked    revoked    -         -           -           -
request-repair      -         -          active     disputed   suspended  -         -           -           -
refuse-repair       -         -          NO_REPAIR  NO_REPAIR  NO_REPAIR  -         -           -           -
repair              -         -          NO_REPAIR  NO_REPAIR  NO_REPAIR  -         -           -           -
suspend             -         suspended  suspended  suspended  SUSPENDED  -         -           -           -
resume              -         -          -          -          active     -         -           -           -
renew               -         NO_RENEWAL NO_RENEWAL NO_RENEWAL NO_RENEWAL -         NO_RENEWAL  NO_RENEWAL  -
leave               -         NO_LEAVING NO_LEAVING NO_LEAVING NO_LEAVING -         NO_LEAVING  -           -
access              draft     notified   active     disputed   suspended  repaired  expired     revoked     corrected
erase               -         -          -          -          -          repaired  expired     revoked     corrected
refuse              -         -          -          -          -          -         -           -           -
restore             -         -          -          -          -          -         -           -           -
"""
REASONS: Final = {
    "OPEN": OPEN,
    "NONE_OPEN": NONE_OPEN,
    "NO_REPAIR": NO_REPAIR,
    "NO_RENEWAL": NO_RENEWAL,
    "NO_LEAVING": NO_LEAVING,
    "SUSPENDED": "it is suspended already",
    "-": NO_STEP,
}


def cells() -> list[tuple[Act, State, str]]:
    states, *rows = (line.split() for line in TABLE.strip().splitlines())
    return [(Act(act), State(before), after) for act, *row in rows for before, after in zip(states, row, strict=True)]


def transition(act: Act, day: date = DAY, **changes: Any) -> Transition:
    """A step that lacks nothing."""
    on = {Act.SERVE: day, Act.RENEW: day}.get(act)
    replacement = "ff" * 16 if act is Act.CORRECT else ""
    made = Transition(act, "head", noon(day), "as decided", "D 9/2026", on, replacement=replacement)
    return replace(made, **changes)


def taken(record: Record, step: Transition, entry: CatalogueEntry = DEBARMENT) -> Record:
    return replace(record, life=apply(record, step, entry)[1])


def refusal(record: Record, step: Transition, entry: CatalogueEntry = DEBARMENT) -> str:
    with pytest.raises(TransitionError) as caught:
        apply(record, step, entry)
    assert caught.value.act is step.act
    return caught.value.reason


class TestStates:
    def test_the_table_knows_every_step_from_every_state(self) -> None:
        assert {(act, before) for act, before, _ in cells()} == {(act, before) for act in Act for before in State}
        assert {before: state(record, DEBARMENT, DAY) for before, record in RECORDS.items()} == {it: it for it in State}

    @pytest.mark.parametrize(("act", "before", "after"), cells())
    def test_a_step_leads_on_or_is_refused(self, act: Act, before: State, after: str) -> None:
        record, step = RECORDS[before], transition(act)
        if after in REASONS:
            assert REASONS[after] in refusal(record, step)
        else:
            assert state(taken(record, step), DEBARMENT, DAY) is State(after)

    @pytest.mark.parametrize("before", [State.ACTIVE, State.DISPUTED, State.SUSPENDED])
    def test_repair_is_decided_once_it_was_asked_for(self, before: State) -> None:
        asked = taken(RECORDS[before], transition(Act.REQUEST_REPAIR))
        assert "open already" in refusal(asked, transition(Act.REQUEST_REPAIR))
        assert state(taken(asked, transition(Act.REPAIR)), DEBARMENT, DAY) is State.REPAIRED
        refused = taken(asked, transition(Act.REFUSE_REPAIR))
        assert refused == RECORDS[before]

    @pytest.mark.parametrize("act", [Act.REPAIR, Act.REVOKE, Act.CORRECT])
    def test_an_end_answers_what_was_open_and_is_the_end_whenever_it_is_asked_about(self, act: Act) -> None:
        asked = taken(DISPUTED, transition(Act.REQUEST_REPAIR))
        assert asked.life.due is not None
        ended = taken(asked, transition(act))
        assert ended.life.due is None
        assert (ended.life.ended_on, ended.life.ended_by) == (DAY, act.value)
        assert {state(ended, DEBARMENT, DAY + timedelta(days)) for days in (0, 1, 5000)} == {ended.life.ended}

    def test_a_corrected_listing_names_its_successor(self) -> None:
        assert taken(ACTIVE, transition(Act.CORRECT)).life.replaced_by == "ff" * 16
        assert "corrected listing is missing" in refusal(ACTIVE, transition(Act.CORRECT, replacement=""))

    def test_a_step_goes_by_the_state_of_its_own_day(self) -> None:
        """An objection on the last day of the term is heard, and on the next there is nothing to object to."""
        last = date(2029, 1, 5)
        assert taken(ACTIVE, transition(Act.OBJECT, last)).life.dispute is not None
        assert refusal(ACTIVE, transition(Act.OBJECT, last + timedelta(days=1))) == "not from the state expired"


class TestForm:
    WITHOUT_REASON: Final = frozenset({Act.ENTER, Act.SERVE, Act.RENEW, Act.ACCESS, Act.REFUSE, Act.RESTORE})
    WITH_DOCUMENT: Final = frozenset({Act.SERVE, Act.REJECT, Act.CORRECT, Act.REVOKE, Act.REPAIR, Act.REFUSE_REPAIR})

    @pytest.mark.parametrize("act", Act)
    @pytest.mark.parametrize("blank", ["", " ", "\n"])
    def test_what_weighs_on_somebody_has_a_reason_and_what_decides_a_document(self, act: Act, blank: str) -> None:
        for name, needed in (("reason", act not in self.WITHOUT_REASON), ("document", act in self.WITH_DOCUMENT)):
            changes: dict[str, Any] = {name: blank}
            step = transition(act, **changes)
            if needed:
                with pytest.raises(TransitionError, match=f"{name} is missing"):
                    check_form(step)
            else:
                check_form(step)

    @pytest.mark.parametrize("name", ["reason", "document"])
    def test_texts_are_printable_and_bounded_and_not_repeated(self, name: str) -> None:
        good: dict[str, Any] = {name: "two\nlines " + "x" * (MAX_TEXT - 10)}
        check_form(transition(Act.REVOKE, **good))
        for wrong in ("x" * (MAX_TEXT + 1), "bell \a", "escape \x1b[2J"):
            assert wrong not in refusal(ACTIVE, transition(Act.REVOKE, **good | {name: wrong}))

    def test_nobody_acts_unnamed_or_about_a_day_to_come(self) -> None:
        assert refusal(ACTIVE, transition(Act.REVOKE, actor="")) == "actor is missing"
        assert refusal(ACTIVE, transition(Act.OBJECT, on=DAY + timedelta(days=1))) == "on is a day to come"

    def test_service_is_of_a_day_from_the_decision_on(self) -> None:
        draft = RECORDS[State.DRAFT]
        for on in (None, draft.listing.decided_on - timedelta(days=1)):
            assert "on is missing, or before the decision" in refusal(draft, transition(Act.SERVE, on=on))
        assert taken(draft, transition(Act.SERVE, on=draft.listing.decided_on)).life == Life(draft.listing.decided_on)

    @pytest.mark.parametrize("act", [Act.OBJECT, Act.REQUEST_CORRECTION, Act.REQUEST_REPAIR])
    def test_nothing_is_received_before_the_service(self, act: Act) -> None:
        assert refusal(ACTIVE, transition(act, on=SERVED - timedelta(days=1))) == "on is before the service"
        taken(ACTIVE, transition(act, on=SERVED))

    def test_an_authors_steps_carry_what_they_said(self) -> None:
        step = Author("head", "as decided", "D 9/2026").step(Act.REVOKE, noon(DAY))
        assert (step.actor, step.reason, step.document, step.today) == ("head", "as decided", "D 9/2026", DAY)


class TestClocks:
    """In working days from the day on which the request was received, which does not count."""

    @pytest.mark.parametrize(
        ("act", "due"),
        [
            (Act.OBJECT, date(2027, 3, 10)),  # 7 working days after Monday 1 March
            (Act.REQUEST_CORRECTION, date(2027, 3, 22)),  # 15
            (Act.REQUEST_REPAIR, date(2027, 3, 15)),  # 10
        ],
    )
    def test_each_request_has_its_own(self, act: Act, due: date) -> None:
        step, life = apply(ACTIVE, transition(act), DEBARMENT)
        assert step.due == due == life.due
        late = transition(act, DAY + timedelta(days=2), on=DAY)
        assert apply(ACTIVE, late, DEBARMENT)[0].due == due

    def test_holidays_of_the_calendar_do_not_count(self) -> None:
        """Easter 2026: Friday 3 and Monday 6 April are holidays in Germany."""
        german = DEBARMENT.model_copy(update={"calendar": "DE"})
        step = transition(Act.OBJECT, date(2026, 4, 1))
        assert apply(ACTIVE, step, DEBARMENT)[0].due == date(2026, 4, 10)
        assert apply(ACTIVE, step, german)[0].due == date(2026, 4, 14)

    @pytest.mark.parametrize("act", [Act.OBJECT, Act.REQUEST_CORRECTION])
    def test_what_is_overdue_suspends_until_it_is_answered_and_nothing_else_lifts_that(self, act: Act) -> None:
        asked = taken(ACTIVE, transition(act))
        assert asked.life.due is not None
        after = asked.life.due + timedelta(days=1)
        assert state(asked, DEBARMENT, asked.life.due) is State.DISPUTED
        assert state(asked, DEBARMENT, after) is State.SUSPENDED
        assert "answer that" in refusal(asked, transition(Act.RESUME, after))
        assert state(taken(asked, transition(Act.REJECT, after)), DEBARMENT, after) is State.ACTIVE

    def test_who_is_suspended_and_in_dispute_needs_both_to_end(self) -> None:
        both = taken(DISPUTED, transition(Act.SUSPEND))
        answered = taken(both, transition(Act.REJECT))
        assert state(answered, DEBARMENT, DAY) is State.SUSPENDED
        assert state(taken(answered, transition(Act.RESUME)), DEBARMENT, DAY) is State.ACTIVE
        assert state(taken(both, transition(Act.RESUME)), DEBARMENT, DAY) is State.DISPUTED

    def test_the_first_of_two_deadlines_comes_first(self) -> None:
        both = taken(taken(ACTIVE, transition(Act.REQUEST_CORRECTION)), transition(Act.REQUEST_REPAIR))
        assert both.life.due == date(2027, 3, 15)


class TestRepair:
    def test_waits_for_its_share_of_the_term(self) -> None:
        """A third of the days from 5 January 2026 to 5 January 2029."""
        earliest = date(2027, 1, 5)
        taken(ACTIVE, transition(Act.REQUEST_REPAIR, earliest))
        reason = refusal(ACTIVE, transition(Act.REQUEST_REPAIR, earliest - timedelta(days=1)))
        assert reason == f"not before {earliest}: the minimum time has not elapsed"

    def test_a_shorter_term_has_a_sooner_repair(self) -> None:
        short = record_of(make_listing(expires_on=date(2026, 4, 5)))  # a third of 90 days
        taken(short, transition(Act.REQUEST_REPAIR, date(2026, 2, 4)))
        assert "not before 2026-02-04" in refusal(short, transition(Act.REQUEST_REPAIR, date(2026, 2, 3)))

    def test_there_is_none_where_nothing_was_broken(self) -> None:
        balance = record_of(make_listing(ground="enrolled", points=1, decided_on=DAY, served_on=DAY))
        assert "nothing to repair" in refusal(balance, transition(Act.REQUEST_REPAIR), POINTS)
        rating = load_catalogue()["tax-rating"]
        good = record_of(make_listing(ground="grade-a", points=95, served_on=SERVED))
        assert "nothing to repair" in refusal(good, transition(Act.REQUEST_REPAIR, date(2026, 12, 1)), rating)


PUBLISHED = record_of(make_listing(ground="designated", decided_on=SERVED, published=True))


class TestSnapshots:
    def test_a_new_publication_runs_the_term_anew(self) -> None:
        day = date(2026, 12, 1)
        renewed = taken(PUBLISHED, transition(Act.RENEW, day), SANCTIONS)
        assert state(PUBLISHED, SANCTIONS, date(2027, 1, 10)) is State.EXPIRED
        assert state(renewed, SANCTIONS, date(2027, 12, 1)) is State.ACTIVE
        assert state(renewed, SANCTIONS, date(2027, 12, 2)) is State.EXPIRED

    def test_an_older_publication_renews_nothing(self) -> None:
        renewed = taken(PUBLISHED, transition(Act.RENEW, date(2026, 12, 1)), SANCTIONS)
        old = transition(Act.RENEW, date(2026, 12, 2), on=date(2026, 11, 30))
        assert "before the last publication" in refusal(renewed, old, SANCTIONS)
        assert "only a new official publication" in refusal(renewed, replace(old, on=None), SANCTIONS)

    def test_what_has_expired_or_left_comes_back_with_its_publication(self) -> None:
        day = date(2027, 2, 1)
        assert state(PUBLISHED, SANCTIONS, day) is State.EXPIRED
        left = taken(PUBLISHED, transition(Act.LEAVE, date(2026, 6, 1)), SANCTIONS)
        assert (left.life.ended, left.life.ended_by) == (State.REVOKED, "leave")
        for record in (PUBLISHED, left):
            back = taken(record, transition(Act.RENEW, day), SANCTIONS)
            assert state(back, SANCTIONS, day) is State.ACTIVE
            assert (back.life.ended_on, back.life.ended_by) == (None, "")

    @pytest.mark.parametrize("act", [Act.REVOKE, Act.CORRECT, Act.REPAIR])
    def test_what_the_agency_ended_itself_does_not(self, act: Act) -> None:
        asked = taken(PUBLISHED, transition(Act.REQUEST_REPAIR, date(2026, 6, 1)), SANCTIONS)
        ended = taken(asked, transition(act, date(2026, 6, 2)), SANCTIONS)
        reason = refusal(ended, transition(Act.RENEW, date(2026, 6, 3)), SANCTIONS)
        assert reason.startswith("it was revoked by a decision" if act is Act.REVOKE else NO_STEP)

    def test_an_open_objection_outlives_a_renewal(self) -> None:
        asked = taken(PUBLISHED, transition(Act.OBJECT, date(2026, 6, 1)), SANCTIONS)
        renewed = taken(asked, transition(Act.RENEW, date(2026, 6, 2)), SANCTIONS)
        assert state(renewed, SANCTIONS, date(2026, 6, 2)) is State.DISPUTED


class TestLeaving:
    def test_a_subject_leaves_what_it_opted_into(self) -> None:
        balance = record_of(make_listing(ground="enrolled", points=1, decided_on=DAY, served_on=DAY))
        assert taken(balance, transition(Act.LEAVE), POINTS).life.ended_by == "leave"

    def test_and_no_other_list(self) -> None:
        unpublished = record_of(make_listing(ground="designated", decided_on=SERVED))
        for record, entry in ((ACTIVE, DEBARMENT), (unpublished, SANCTIONS)):
            assert NO_LEAVING in refusal(record, transition(Act.LEAVE, date(2026, 6, 1)), entry)


class TestReplay:
    def test_the_steps_as_they_were_recorded_give_the_same_life(self) -> None:
        draft = make_listing(served_on=None)
        record, steps = replay(draft, "00", [entered := transition(Act.ENTER, due=DAY)]), [entered]
        assert record.life == Life(None, serve_by=DAY)
        for days, act in enumerate(
            (Act.SERVE, Act.OBJECT, Act.SUSPEND, Act.REJECT, Act.RESUME, Act.REQUEST_CORRECTION, Act.ACCESS, Act.REVOKE)
        ):
            step, life = apply(record, transition(act, DAY + timedelta(days)), DEBARMENT)
            steps.append(step)
            record = replace(record, life=life)
            assert replay(draft, "00", steps) == record

    def test_what_was_asked_after_a_rule_changed_is_due_as_it_was_then(self) -> None:
        """Replaying applies no rule: the recorded deadline counts, not what today's catalogue would give."""
        step, life = apply(ACTIVE, transition(Act.OBJECT), DEBARMENT)
        assert step.due is not None
        other = replace(step, due=step.due + timedelta(days=9))
        assert replay(LISTING, "", [other]).life.due == other.due != life.due
