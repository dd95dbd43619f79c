"""The catalogue for people: every preset with its grounds, and every figure with its source, as a Markdown page."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel

from nodes.catalogue import load_catalogue
from nodes.catalogue.entry import CatalogueEntry, Figure, Points, Share, Term

START: Final = "<!-- catalogue -->"
END: Final = "<!-- /catalogue -->"

_AnyFigure = Figure | Points | Share | Term
_BRINGS: Final = {"listing": "lists", "positive": "incentives only", "none": "stays at home"}


def inserted(document: str) -> str:
    """The document with the catalogue between its marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError("the document has no marks for the catalogue")
    return f"{before}{start}\n{markdown()}{end}{after}"


def markdown() -> str:
    """All presets, each with a table of its grounds and one of its figures."""
    return "\n".join(line for entry in load_catalogue().values() for line in section(entry)) + "\n"


def section(entry: CatalogueEntry) -> Iterator[str]:
    """The lines on one preset: a table of its grounds and one of its figures."""
    kept_by = "any agency" if entry.competent == "any" else ", ".join(entry.competent)
    yield f"\n### `{entry.id}`: {entry.title}\n"
    official = "; follows an official publication" if entry.snapshot else ""
    yield f"Kind {entry.kind}{official}; kept by: {kept_by}; subjects: {', '.join(entry.subject_kinds)}.\n"
    yield from ("| ground | reason | brings | class | legal basis |", "| --- | --- | --- | --- | --- |")
    for it in entry.grounds:
        yield f"| `{it.id}` | {it.text} | {_BRINGS[it.effect]} | {it.severity} | {it.basis_rank} |"
    yield from ("\n| figure | value | source |", "| --- | --- | --- |")
    for name, figure in _figures(entry):
        yield f"| {name} | {_said(name, figure)} | {figure.source} |"
    if entry.repair:
        yield f"\nRepair: {entry.repair.duties}"


def _figures(model: BaseModel, path: str = "") -> Iterator[tuple[str, _AnyFigure]]:
    """Every figure of an entry, with what it is called; those of a ground come with its id."""
    for name, value in model:
        if name == "grounds":
            for ground in value:
                yield from _figures(ground, f"`{ground.id}` ")
        elif isinstance(value, _AnyFigure):
            yield f"{path}{name}".replace("_", " "), value
        elif isinstance(value, BaseModel):
            yield from _figures(value, f"{path}{name} ")


def _said(name: str, figure: _AnyFigure) -> str:
    match figure:
        case Term():
            return str(figure)
        case Points():
            return f"{figure.min} to {figure.max}"
        case Share():
            return f"after {figure.value} of the term" if figure.value else "at any time"
    if name.endswith("threshold"):
        return str(figure.value)
    return f"{figure.value} working day{'s' * (figure.value != 1)}"
