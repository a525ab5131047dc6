"""States are a few JSON values, and only their own order takes them back."""

import dataclasses
import json

import pytest

from scdata._errors import StateError
from scdata.stream.state import State

MINE = State(
    manifest="ab" * 32,
    split="train",
    seed=3,
    epoch=2,
    shuffle=True,
    lanes=16,
    window=16384,
    global_batch=64,
    position=640,
)


def test_round_trip_through_json():
    assert MINE.accept(json.loads(json.dumps(MINE.to_dict()))) == MINE


@pytest.mark.parametrize(
    ("name", "value"),
    [("manifest", "cd" * 32), ("split", "val"), ("seed", 4), ("shuffle", False), ("lanes", 8), ("window", 64)],
)
def test_another_order_is_refused_naming_the_difference(name, value):
    with pytest.raises(StateError, match=f"{name} was {value!r} and is {getattr(MINE, name)!r}"):
        MINE.accept({**MINE.to_dict(), name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 0}, "format 0, this scdata reads 2"),
        ({"position": -1}, "position = -1"),
        ({"epoch": "2"}, "epoch = '2'"),
        ({"more": 1}, "unknown .'more'."),
    ],
)
def test_damaged_states_are_refused(change, message):
    with pytest.raises(StateError, match=message):
        MINE.accept({**MINE.to_dict(), **change})


def test_another_global_batch_warns():
    with pytest.warns(UserWarning, match="64 cells a global batch, now 32"):
        dataclasses.replace(MINE, global_batch=32).accept(MINE.to_dict())
