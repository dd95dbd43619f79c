"""An agency's overlay: a small YAML file that adapts presets to its own rules, and only in the subject's favour.

    wage-arrears:
      calendar: CN
      grounds:
        unpaid-wages:
          default_term: {value: 24, source: "Ordinance 7, s. 3"}
      notice:
        window: {value: 15, source: "Ordinance 7, s. 9"}

It changes figures, each with the source of the new one, the calendar, the notice's text and the duties of repair.
Nothing else has a place in it: no ground can be added or taken away, and who lists whom, how gravely and with what
effect stays what the agreement was signed over. Terms and the agency's deadlines only get shorter, a subject's time to
object only longer, repair only comes earlier, more infringements may be asked for and not fewer.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic's own dependency, which before Python 3.12 it asks for

from nodes.catalogue.entry import ASSUMED, CatalogueEntry, Figure, Share, Term
from protocol.agreement.model import Id, PlainLoader, Text
from protocol.errors import PeerError

MAX_TEXT: Final = 64 << 10  # characters of YAML


class OverlayError(PeerError):
    """An overlay is not of the required form, or would take from subjects what the preset gives them.

    `path` is the field's, `reason` says why; the value is not repeated.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


# What an overlay may say. A field that may be left out may not be empty instead: nothing is taken away by silence.
_CLOSED: Final = ConfigDict(extra="forbid", hide_input_in_errors=True)


@with_config(_CLOSED)
class _Counted(TypedDict, total=False):
    threshold: Figure
    within: Term


@with_config(_CLOSED)
class _Ground(TypedDict, total=False):
    default_term: Term
    max_term: Term
    counted: _Counted


@with_config(_CLOSED)
class _Notice(TypedDict, total=False):
    text: Text
    window: Figure
    served_within: Figure


@with_config(_CLOSED)
class _Objection(TypedDict, total=False):
    flagged_within: Figure
    answered_within: Figure
    corrected_within: Figure


@with_config(_CLOSED)
class _Repair(TypedDict, total=False):
    duties: Text
    earliest: Share
    decided_within: Figure
    removed_within: Figure


@with_config(_CLOSED)
class Adaptation(TypedDict, total=False):
    """What an overlay may change of one preset."""

    calendar: Text
    grounds: dict[Id, _Ground]
    notice: _Notice
    objection: _Objection
    repair: _Repair
    retention: Term


Overlay = Mapping[str, Adaptation]
_AnyFigure = Figure | Share | Term
_FORM: Final = TypeAdapter(dict[Id, Adaptation])


def load_overlay(text: str) -> Overlay:
    """Read an overlay: adaptations by the preset's id. An empty file adapts nothing.

    Raises:
        OverlayError: too long, not plain YAML, or not of the form.
    """
    if len(text) > MAX_TEXT:
        raise OverlayError("document", f"longer than {MAX_TEXT} characters")
    try:
        document = yaml.load(text, Loader=PlainLoader)  # noqa: S506  # a SafeLoader, narrowed
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise OverlayError("document", f"line {mark.line + 1 if mark else 1} is not plain YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise OverlayError("document", "not plain YAML") from None
    try:
        return MappingProxyType(_FORM.validate_python({} if document is None else document))
    except ValidationError as error:
        raise _refused(error) from None


def adapted(catalogue: Mapping[str, CatalogueEntry], overlay: Overlay) -> Mapping[str, CatalogueEntry]:
    """The catalogue with the overlay's presets adapted; the others are those of `catalogue`.

    Raises:
        OverlayError: names the first field that the preset does not have, or that may not be changed in this way.
    """
    entries = dict(catalogue)
    for preset, adaptation in overlay.items():
        if preset not in catalogue:
            raise OverlayError(_shown(preset), "not a preset of the catalogue")
        fields = dict(catalogue[preset])
        grounds = {ground.id: ground for ground in fields["grounds"]}
        merged = _merged(preset, fields | {"grounds": grounds}, adaptation)
        try:
            entries[preset] = CatalogueEntry.model_validate(merged | {"grounds": tuple(merged["grounds"].values())})
        except ValidationError as error:
            raise _refused(error, preset, tuple(grounds)) from None
    return MappingProxyType(entries)


_MAY_BE_NEW: Final = frozenset({"calendar", "window", "served_within"})
_ONLY_GROWS: Final = frozenset({"window", "threshold"})
_GROWS_BY_LAW: Final = frozenset({"default_term", "retention"})


def _merged(path: str, before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for name, change in changes.items():
        here, old = f"{path}.{_shown(name)}", merged.get(name)
        if old is None and name not in _MAY_BE_NEW:
            raise OverlayError(here, "the preset has none")
        if isinstance(change, dict):
            merged[name] = _merged(here, dict(old or ()), change)
            continue
        if isinstance(old, _AnyFigure) and isinstance(change, _AnyFigure):
            _check_change(here, old, change, before)
        merged[name] = change
    return merged


def _check_change(path: str, old: _AnyFigure, new: _AnyFigure, neighbours: Mapping[str, Any]) -> None:
    if isinstance(old, Term) and isinstance(new, Term) and old.unit != new.unit:
        raise OverlayError(path, f"counted in {old.unit}, as the preset's")
    if new.value != old.value:
        if new.source == old.source != ASSUMED:
            raise OverlayError(path, "a changed figure needs a source of its own")
        longest = neighbours.get("max_term", old)
        if reason := _unfair(path.rpartition(".")[2], new.value > old.value, new, longest):
            raise OverlayError(path, reason)


def _unfair(name: str, grows: bool, new: _AnyFigure, longest: Term) -> str | None:
    """What the subject would lose by a figure that grows or shrinks, or None."""
    if name in _ONLY_GROWS:
        return None if grows else "may only grow: a smaller figure would take from the subject"
    if not grows:
        return None
    if name == "default_term" and new.value > longest.value:
        return f"beyond the preset's maximum of {longest}"
    if name in _GROWS_BY_LAW:
        return "longer only by a published rule, named as the source" if new.source == ASSUMED else None
    return "may only shrink: a greater figure would take from the subject"


def _refused(error: ValidationError, preset: str = "", grounds: Sequence[str] = ()) -> OverlayError:
    """The first fault that pydantic found."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = [grounds[step] if isinstance(step, int) and grounds else step for step in fault["loc"] if step != "[key]"]
    path = ".".join(_shown(step) for step in (preset, *steps) if step)
    reason = {"extra_forbidden": "no field of an overlay", "missing": "absent"}.get(fault["type"], fault["msg"])
    return OverlayError(path or "document", reason.removeprefix("Value error, "))


def _shown(step: int | str) -> str:
    """Show what may be a misspelt name; anything else in a name's place could be a value."""
    return str(step) if re.fullmatch("[a-z][a-z_-]{0,62}", str(step)) else "?"
