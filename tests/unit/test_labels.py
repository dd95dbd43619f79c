"""No two domains share a label, and the protocol writes none anywhere but in its one place."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

from protocol import labels
from protocol.codec import concat

PROJECT = Path(labels.__file__).parents[1]
ROOMS = ("protocol", "nodes", "federation", "api")
SUITE = labels.SUITE.encode()


def domains() -> dict[str, bytes]:
    return {name: value for name, value in vars(labels).items() if isinstance(value, bytes) and name.isupper()}


def collisions(first: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Pairs of which one label is the other or begins with it."""
    return [(a, b) for a, b in itertools.permutations(first, 2) if a.startswith(b)]


def nodes_of(room: str) -> Iterator[tuple[Path, ast.AST]]:
    for path in (PROJECT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def literals(room: str) -> dict[bytes, Path]:
    return {
        node.value: path
        for path, node in nodes_of(room)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and SUITE in node.value
    }


def test_no_label_is_another_or_its_prefix() -> None:
    assert len(domains()) >= 20
    assert collisions([*domains().values()]) == []


def test_a_label_that_begins_with_another_would_be_found() -> None:
    values = [*domains().values()]
    assert collisions([*values, labels.TAG + b"s"]) == [(labels.TAG + b"s", labels.TAG)]
    assert collisions([*values, labels.TAG]) == [(labels.TAG, labels.TAG)] * 2


def test_length_prefixes_keep_even_such_labels_apart() -> None:
    assert not concat(b"label", b"x").startswith(concat(b"lab"))


def test_every_label_carries_the_suite() -> None:
    assert all(label.startswith(SUITE + b" ") and label.isascii() for label in domains().values())


def test_suites_and_payload_types_are_no_labels() -> None:
    names = {labels.SUITE, labels.INSECURE_TEST_SUITE, labels.PAYLOAD_TYPE_PREFIX}
    assert len(names) == 3
    assert not {name.encode() for name in names} & set(domains().values())


def test_the_protocol_writes_its_labels_in_one_place() -> None:
    assert set(literals("protocol").values()) == {Path(labels.__file__)}
    assert set(literals("protocol")) == set(domains().values())


def test_what_a_node_derives_for_itself_collides_with_no_label_either() -> None:
    everywhere = [label for room in ROOMS for label in literals(room)]
    assert collisions(everywhere) == []


def test_every_label_is_used() -> None:
    used = {
        node.attr
        for room in ROOMS
        for _, node in nodes_of(room)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "labels"
    }
    assert set(domains()) - used == set()
