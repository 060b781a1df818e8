"""The record of an encoded file: what goes in comes out, and what is flipped is found."""

import dataclasses
import struct
import zlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.codec.restore_data import FORMAT, CodedFrame, RestoreData, pack, unpack
from betwixt.errors import InputError


def record(**changes):
    plain = RestoreData(
        mode="bit-need",
        model="compact",
        weights="42eee7196207",
        paths="curved",
        writer="0.1.0",
        base="x265",
        rate=Fraction(24000, 1001),
        variable=False,
        tick=Fraction(1001, 24000),
        ticks=(0, 1, 2, 3, 4, 7),
        last=1,
        shots=(0, 3),
        start=Fraction(1, 2),
        sent=(True, False, True, True, False, True),
        packets=(1, 2, 3, 1 << 31),
        coded={1: CodedFrame(b"one", 11), 4: CodedFrame(b"two of them", 22)},
        codec_weights="0123456789ab",
    )
    return dataclasses.replace(plain, **changes)


def test_what_goes_in_comes_out():
    assert unpack(pack(record()), "x.mkv") == (record(), [])
    assert record().duration == Fraction(8 * 1001, 24000)


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=60),
    st.fractions(min_value=Fraction(1, 90000), max_value=1),
    st.data(),
)
def test_times_and_masks_are_exact(steps, tick, data):
    ticks = [0]
    for step in steps:
        ticks.append(ticks[-1] + step)
    sent = [True, *data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))]
    given_record = record(
        ticks=tuple(ticks), tick=tick, sent=tuple(sent), packets=tuple(range(sum(sent))), coded={}, shots=(0,)
    )
    found, broken = unpack(pack(given_record), "x.mkv")
    assert found == given_record
    assert not broken


def test_a_long_film_of_constant_rate_says_its_times_in_a_few_bytes():
    frames = 200_000
    long = record(ticks=tuple(range(frames)), sent=(True, *[False] * (frames - 1)), packets=(7,), coded={}, shots=(0,))
    assert len(pack(long)) < frames // 8 + 600


def test_every_flipped_byte_is_found():
    whole = pack(record())
    payloads = len(whole) - len(b"onetwo of them")
    for place in range(len(whole)):
        for bit in (0, 7):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            if place >= payloads:
                found, broken = unpack(bytes(flipped), "x.mkv")
                assert broken == [1 if place < payloads + 3 else 4]
                assert set(found.coded) == {1, 4} - set(broken)
            else:
                with pytest.raises(InputError, match="restore data is damaged"):
                    unpack(bytes(flipped), "x.mkv")
    for length in range(payloads):
        with pytest.raises(InputError, match="damaged"):
            unpack(whole[:length], "x.mkv")
    assert unpack(whole[:-1], "x.mkv")[1] == [4]


def test_another_version_says_so():
    body = b"what a later version writes"
    later = struct.pack("<4sBII", b"BTWX", FORMAT + 1, len(body), zlib.crc32(body)) + body
    with pytest.raises(InputError, match=rf"version {FORMAT + 1}, and this Betwixt reads version {FORMAT}: .* newer"):
        unpack(later, "x.mkv")


@pytest.mark.parametrize(
    "lie",
    [
        {"steps": [[1, 1 << 40]]},
        {"steps": [[0, 3]]},
        {"steps": [["1", 2]]},
        {"steps": 5},
        {"rate": "1/0"},
        {"rate": "-25"},
        {"shots": []},
        {"shots": [99]},
        {"mode": "free"},
        {"coded": [77]},
        {"coded": ["x"]},
        {"last": 0},
    ],
)
def test_a_record_that_lies_is_refused(lie):
    import json

    whole = pack(record(coded={}))
    body = whole[13:]
    (length,) = struct.unpack_from("<I", body)
    text = json.loads(zlib.decompress(body[4 : 4 + length])) | lie
    packed = zlib.compress(json.dumps(text).encode())
    body = struct.pack("<I", len(packed)) + packed + body[4 + length :]
    forged = struct.pack("<4sBII", b"BTWX", FORMAT, len(body), zlib.crc32(body)) + body
    with pytest.raises(InputError, match="does not understand"):
        unpack(forged, "x.mkv")
