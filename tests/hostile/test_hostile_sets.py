"""A set made to harm, with all hashes right: named, in little memory, with nothing run and nothing outside read."""

import re

import kinds_of_blocks  # noqa: F401  (importing them fills KINDS)
import kinds_of_files  # noqa: F401
import kinds_of_small_files  # noqa: F401
import pytest
from kinds import KINDS


@pytest.fixture(scope="module")
def outcomes(hostile_copy, probe):
    """By kind: what came of it."""
    sets = {}
    for name, (change, _, base, _) in KINDS.items():
        own = hostile_copy(base)
        change(own)
        sets[name] = own.path
    return dict(zip(sets, probe(sets.values()), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_named(outcomes, name):
    found, (_, expected, _, ways) = outcomes[name], KINDS[name]
    for way in ways:
        said = found[way]["said"]
        assert said is not None, f"{way} took it"
        assert re.search(expected, said), (way, said)
    # what a filter meets in obs/ may be fine, and then it meets what the loader met
    assert found["filter"]["said"] is not None
    assert not found["filter"]["said"].startswith("!"), found["filter"]


@pytest.mark.parametrize("name", KINDS)
def test_it_takes_little_memory_and_touches_nothing_else(outcomes, name):
    found = outcomes[name]
    assert found["seen"] == []
    for way in ("load", "filter", "verify"):
        assert found[way]["mb"] < 100, (way, found[way])
