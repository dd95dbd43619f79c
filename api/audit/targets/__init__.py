"""Every decoder and every handler of a party, with an honest input and faults that it must refuse."""

from api.audit.dishonest import Scene
from api.audit.grounds import Grounds, listing
from api.audit.targets import answering, asking, deciding, sieving
from api.audit.targets.question import KEYHOLDER, LISTED, Question, Target


def targets(grounds: Grounds, name: str) -> tuple[Question, dict[str, Target]]:
    """A question, and every receiver of its messages by name."""
    registers = {agency: [listing(agency, LISTED)] for agency in ("labour", KEYHOLDER)}
    it = Question(Scene.create(grounds, name, registers), grounds.primes(full=False)[0])
    made = [
        asking.evaluate_at_keyholder(it),
        asking.evaluate_at_coordinator(it),
        asking.evaluated(it),
        asking.ask_at_agency(it),
        asking.question_at_coordinator(it),
        answering.answer(it),
        sieving.answer(it),
        answering.open_at_keyholder(it),
        answering.opened(it),
        answering.prove(it),
        answering.proved(it),
        deciding.decide(it),
        deciding.certificate_of(it),
        deciding.terms(it),
    ]
    return it, {target.name: target for target in made}
