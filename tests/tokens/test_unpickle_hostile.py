"""Pickles are read, never run: how everything but plain dictionaries is refused."""

import builtins
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._errors import TokenizerError
from scdata.tokens.published import unpickle
from scdata.tokens.published.unpickle import unpickle_table

KEY = b"\x8c\x01a"  # SHORT_BINUNICODE "a"


def read(data):
    return unpickle_table(data, "x.pkl")


def proto(body, number=4):
    return b"\x80" + bytes([number]) + body


class _Runs:
    """A pickle of this runs what it is given, in pickle.load."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": _Runs(os.system, ("exit 3",)),
    "eval": _Runs(builtins.eval, ("1/0",)),
    "exec": _Runs(builtins.exec, ("1/0",)),
    "subprocess": _Runs(subprocess.Popen, (["false"],)),
    "getattr": _Runs(getattr, (os.system, "__self__")),
    "nested reduce": _Runs(getattr, (_Runs(__import__, ("os",)), "system")),
    "reduce in a dictionary": {"a": _Runs(os.system, ("exit 3",))},
    "reduce as a key": {_Runs(str, ("a",)): 1},
    "list": [1, 2],
    "nested dictionary": {"a": {"b": 1}},
    "list in a dictionary": {"a": [1]},
    "tuple in a dictionary": {"a": (1, 2)},
    "bytes": {"a": b"b"},
    "bool": {"a": True},
    "None": {"a": None},
    "set": {"a": {1}},
    "number as a key": {1: 2},
    "huge integer": {"a": 1 << 70},
    "complex": {"a": 1j},
    "NumPy array": {"a": np.arange(3)},
    "NumPy object": {"a": np.array([len], object)},
    "NumPy complex": {"a": np.complex64(1)},
    "NumPy string": {"a": np.str_("x")},
    "NumPy bool": {"a": np.bool_(True)},
    "NumPy date": {"a": np.datetime64("2020-01-01")},
    "dtype alone": {"a": np.dtype("f8")},
    "structured dtype": {"a": np.zeros(1, [("x", "f8")])[0]},
    "a function": {"a": len},
    "a class": {"a": int},
    "a string": "abc",
    "a number": 3,
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused(name, protocol):
    data = pickle.dumps(HOSTILE[name], protocol=protocol)
    with pytest.raises(TokenizerError, match=r"x\.pkl: (refused at byte \d+|not a whole pickle)"):
        read(data)


def test_the_message_names_what_was_asked_for():
    data = pickle.dumps(_Runs(os.system, ("exit 3",)), protocol=4)
    with pytest.raises(TokenizerError, match=r"it asks for 'posix\.system'\. .*nothing in them is run"):
        read(data)


FLOAT = b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89\x88\x87R"  # numpy.dtype("f8", False, True)
STATE = b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
SCALAR = b"\x8c\x16numpy._core.multiarray\x8c\x06scalar\x93"
BY_HAND = {
    # names
    "GLOBAL": b"cposix\nsystem\n(\x8c\x04exittR.",
    "GLOBAL with a space in it": b"cos system\nx\n.",
    "STACK_GLOBAL of numbers": b"K\x01K\x02\x93.",
    "STACK_GLOBAL of a recalled string": b"\x8c\x05posix\x940\x8c\x06system\x93.",
    "STACK_GLOBAL of a dictionary": b"}}\x93.",
    "STACK_GLOBAL over a mark": b"(\x8c\x05numpy\x93.",
    "dotted name": b"\x8c\x05numpy\x8c\x0bdtype.names\x93.",
    "numpy.load": b"\x8c\x05numpy\x8c\x04load\x93.",
    "INST": b"(\x8c\x04exitiposix\nsystem\n.",
    "OBJ": b"(cposix\nsystem\n\x8c\x04exito.",
    "NEWOBJ": b"\x8c\x05numpy\x8c\x05dtype\x93)\x81.",
    "NEWOBJ_EX": b"\x8c\x05numpy\x8c\x05dtype\x93)}\x92.",
    "PERSID": b"Pabc\n.",
    "BINPERSID": b"\x8c\x01a\x51.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "NEXT_BUFFER": b"\x97.",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2) + b"ab.",
    # calls
    "call of a string": b"\x8c\x01a)R.",
    "call of a string with a pair": b"\x8c\x01aK\x01K\x01\x86R.",
    "build of a dictionary": b"}}b.",
    "dtype as a value": b"}" + KEY + FLOAT + STATE + b"s.",
    "dtype called with one thing": b"}" + KEY + b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x85Rs.",
    "scalar called with one thing": b"}" + KEY + SCALAR + b"\x85Rs.",
    # the stack and the memo
    "nothing": b".",
    "two things": b"}}.",
    "a number under the dictionary": b"K\x01}.",
    "the dictionary under a number": b"}K\x01.",
    "a second dictionary": b"}" + KEY + b"}s.",
    "the dictionary in itself": b"}\x94" + KEY + b"h\x00s.",
    "item without a key": b"}K\x01s.",
    "items of uneven number": b"}(" + KEY + b"u.",
    "items without a mark": b"}" + KEY + b"K\x01u.",
    "items for a string": KEY + b"(" + KEY + b"K\x01u.",
    "items for nothing": b"(" + KEY + b"K\x01u.",
    "the same key twice": b"}(" + KEY + b"K\x01" + KEY + b"K\x02u.",
    "a mark as a value": b"}" + KEY + b"(s.",
    "a remembered mark": b"(\x94h\x00.",
    "recall of what was not remembered": b"h\x07.",
    "remember on an empty stack": b"\x94.",
    "tuple without a mark": b"K\x01t.",
    "tuple of too little": b"K\x01\x87.",
    "POP": b"}0.",
    "POP_MARK": b"(1}.",
    "DUP": b"}2.",
    "a long tuple": b"}" + KEY + b"K\x01\x85s.",
    # the frame around it
    "a second protocol": b"\x80\x04}.",
    "bytes after the end": b"}.}",
    "another pickle after the end": b"}." + proto(b"cposix\nsystem\n."),
    "no end": b"}",
    "no instruction": b"}\xff.",
    "empty": b"",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_pickles_made_by_hand_are_refused(name):
    with pytest.raises(TokenizerError, match=r"x\.pkl: (refused at byte \d+|not a whole pickle)"):
        read(proto(BY_HAND[name]))


def scalar(dtype=FLOAT, state=STATE, data=b"C\x08abcdefgh"):
    """A dictionary of one NumPy scalar."""
    return proto(b"}" + KEY + SCALAR + dtype + state + data + b"\x86Rs.")


def dtype(code, arguments=b"\x89\x88\x87"):
    return b"\x8c\x05numpy\x8c\x05dtype\x93\x8c" + bytes([len(code)]) + code + arguments + b"R"


def state(middle=b"NNN", end=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00", order=b"<", version=b"K\x03"):
    return b"(" + version + b"\x8c\x01" + order + middle + end + b"tb"


SCALARS = [
    ({"dtype": dtype(b"O8")}, "a dtype other than"),
    ({"dtype": dtype(b"S8")}, "a dtype other than"),
    ({"dtype": dtype(b"V8")}, "a dtype other than"),
    ({"dtype": dtype(b"M8")}, "a dtype other than"),
    ({"dtype": dtype(b"c8")}, "a dtype other than"),
    ({"dtype": dtype(b"b1"), "data": b"C\x01a"}, "a dtype other than"),
    ({"dtype": dtype(b"S1000000000")}, "a dtype other than"),
    ({"dtype": dtype(b"f8,f8")}, "a dtype other than"),
    ({"dtype": dtype(b"f8", b"\x88\x88\x87")}, "a dtype other than"),
    ({"dtype": dtype(b"f8", b"NN\x87")}, "a dtype other than"),
    ({"dtype": b"\x8c\x02f8", "state": b""}, "a NumPy scalar without dtype or bytes"),
    ({"state": b""}, "a NumPy scalar without dtype or bytes"),
    ({"data": b"N"}, "a NumPy scalar without dtype or bytes"),
    ({"data": b"\x8c\x08abcdefgh"}, "a NumPy scalar without dtype or bytes"),
    ({"data": b"C\x04abcd"}, "a NumPy scalar of f8 in 4 bytes"),
    ({"data": b"C\x10abcdefghabcdefgh"}, "a NumPy scalar of f8 in 16 bytes"),
    ({"state": b"}b"}, "a second dictionary"),
    ({"state": b"Nb"}, "a dtype with parts"),
    ({"state": state(b"N\x8c\x01aN")}, "a dtype with parts"),
    ({"state": state(end=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK?")}, "a dtype with parts"),
    ({"state": state(end=b"K\x08K\x08K\x00")}, "a dtype with parts"),
    ({"state": state(end=b"")}, "a dtype with parts"),
    ({"state": state(order=b"=")}, "a dtype with parts"),
    ({"state": state(version=b"K\x04")}, "a dtype with parts"),
]


def test_the_scalar_that_the_next_ones_differ_from_is_read():
    assert read(scalar()) == {"a": struct.unpack("<d", b"abcdefgh")[0]}
    assert read(scalar(dtype(b"i1"), state(order=b"|"), b"C\x01a")) == {"a": 97}


@pytest.mark.parametrize(("changes", "message"), SCALARS)
def test_scalars_of_another_kind_are_refused(changes, message):
    with pytest.raises(TokenizerError, match=rf"x\.pkl: refused at byte \d+: {message}"):
        read(scalar(**changes))


@pytest.mark.parametrize("number", [0, 1, 6, 255])
def test_other_protocols_are_refused(number):
    with pytest.raises(TokenizerError, match=f"protocol {number}"):
        read(proto(b"}.", number))


TEN_GB = 10 * 10**9
CLAIMS = {
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", TEN_GB),
    "BINUNICODE8 beyond 64 bits": b"\x8d" + b"\xff" * 8,
    "BINBYTES8": b"\x8e" + struct.pack("<Q", TEN_GB),
    "BINBYTES": b"B" + struct.pack("<I", 2**32 - 1),
    "BINUNICODE": b"X" + struct.pack("<I", 2**32 - 1),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", TEN_GB),
    "FRAME": b"\x95" + struct.pack("<Q", TEN_GB),
    "LONG4": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "LONG4 below zero": b"\x8b" + struct.pack("<i", -5),
    "BINSTRING": b"T" + struct.pack("<i", 2**31 - 1),
    "LONG_BINPUT": b"}r" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 2**32 - 2),
    "LONG1": b"\x8a\xff" + b"\x01" * 255,
    "INT of many digits": b"I" + b"9" * 100_000 + b"\n",
    "LONG of many digits": b"L" + b"9" * 100_000 + b"L\n",
}


@pytest.mark.parametrize("name", CLAIMS)
def test_sizes_that_are_only_claimed_take_no_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(TokenizerError):
            read(proto(CLAIMS[name] + b"ab."))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_may_end_where_the_file_ends():
    assert read(proto(b"\x95" + struct.pack("<Q", 2) + b"}.")) == {}
    with pytest.raises(TokenizerError, match=r"a frame of 3 bytes where 2 are left"):
        read(proto(b"\x95" + struct.pack("<Q", 3) + b"}."))


FLOODS = {
    "marks": b"(" * 3000,
    "numbers": b"K\x01" * 3000,
    "memo": b"K\x01" + b"\x94" * 3000,
    "memo by number": b"K\x01" + b"".join(b"r" + struct.pack("<I", i) for i in range(3000)),
    "recalls": b"K\x01\x94" + b"h\x00" * 3000,
    "nested tuples": b"K\x01" + b"\x94h\x00\x86" * 3000,
    "items": b"}" + b"".join(b"X\x04\0\0\0" + f"{i:04}".encode() + b"K\x01s" for i in range(3000)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_objects_ends(monkeypatch, name):
    monkeypatch.setattr(unpickle, "_MOST_OBJECTS", 1000)
    with pytest.raises(TokenizerError, match=r"more than 1,000 (objects|items)"):
        read(proto(FLOODS[name] + b"."))


def test_deep_nesting_ends_in_a_refusal():
    # through the real limit, and freed without a recursion
    with pytest.raises(TokenizerError, match="the pickle is not one dictionary"):
        read(proto(b"K\x01" + b"K\x01\x86" * 200_000 + b"."))
    with pytest.raises(TokenizerError, match="the instruction EMPTY_LIST"):
        read(proto(b"]" * 200_000 + b"."))


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(unpickle, "MOST_BYTES", 100)
    with pytest.raises(TokenizerError, match=r"x\.pkl: 101 bytes; pickles are read up to"):
        read(bytes(101))


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_bytes_lead_to_another_error(body):
    for data in (body, proto(body), proto(b"}" + body + b".")):
        with contextlib.suppress(TokenizerError):
            read(data)


@settings(max_examples=300)
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
def test_no_damage_leads_to_another_error(at, byte, cut):
    whole = bytearray(
        pickle.dumps({"ENSG1": np.float64(1.5), "ENSG2": 2, "ENSG3": "x", "ENSG4": np.int16(4)}, protocol=4)
    )
    whole[at % len(whole)] = byte
    try:
        found = read(bytes(whole[: cut or None]))
    except TokenizerError:
        return
    assert all(type(key) is str and type(value) in (str, int, float) for key, value in found.items())


def test_nothing_is_imported():
    code = (
        "import sys; from scdata.tokens.published.unpickle import unpickle_table\n"
        "before = set(sys.modules)\n"
        "try: unpickle_table(b'\\x80\\x04\\x8c\\x08antigrav\\x8c\\x01x\\x93.', 'x')\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["TokenizerError", "[]"]
