"""Packing and unpacking restore data, and detecting damage."""

import dataclasses
import struct
import zlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.codec.restore_data import FORMAT, CodedFrame, RestoreData, pack, unpack
from betwixt.errors import InputError


def restore_data(**changes):
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


def test_data_round_trips():
    assert unpack(pack(restore_data()), "x.mkv") == (restore_data(), [])
    assert restore_data().duration == Fraction(8 * 1001, 24000)


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=60),
    st.fractions(min_value=Fraction(1, 90000), max_value=1),
    st.data(),
)
def test_times_and_masks_round_trip_exactly(steps, tick, data):
    ticks = [0]
    for step in steps:
        ticks.append(ticks[-1] + step)
    sent = [True, *data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))]
    data_in = restore_data(
        ticks=tuple(ticks), tick=tick, sent=tuple(sent), packets=tuple(range(sum(sent))), coded={}, shots=(0,)
    )
    unpacked, damaged = unpack(pack(data_in), "x.mkv")
    assert unpacked == data_in
    assert not damaged


def test_times_of_a_constant_rate_need_few_bytes():
    frames = 200_000
    long = restore_data(
        ticks=tuple(range(frames)), sent=(True, *[False] * (frames - 1)), packets=(7,), coded={}, shots=(0,)
    )
    assert len(pack(long)) < frames // 8 + 600


def test_every_flipped_bit_is_detected():
    packed = pack(restore_data())
    payloads = len(packed) - len(b"onetwo of them")
    for place in range(len(packed)):
        for bit in (0, 7):
            content = bytearray(packed)
            content[place] ^= 1 << bit
            if place >= payloads:
                unpacked, damaged = unpack(bytes(content), "x.mkv")
                assert damaged == [1 if place < payloads + 3 else 4]
                assert set(unpacked.coded) == {1, 4} - set(damaged)
            else:
                with pytest.raises(InputError, match="restore data is damaged"):
                    unpack(bytes(content), "x.mkv")
    for length in range(payloads):
        with pytest.raises(InputError, match="damaged"):
            unpack(packed[:length], "x.mkv")
    assert unpack(packed[:-1], "x.mkv")[1] == [4]


def test_another_version_is_refused():
    body = b"what a later version writes"
    later = struct.pack("<4sBII", b"BTWX", FORMAT + 1, len(body), zlib.crc32(body)) + body
    with pytest.raises(InputError, match=rf"version {FORMAT + 1}, and this Betwixt reads version {FORMAT}: .* newer"):
        unpack(later, "x.mkv")


@pytest.mark.parametrize(
    "change",
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
def test_impossible_descriptions_are_refused(change):
    import json

    packed = pack(restore_data(coded={}))
    body = packed[13:]
    (length,) = struct.unpack_from("<I", body)
    text = json.loads(zlib.decompress(body[4 : 4 + length])) | change
    packed = zlib.compress(json.dumps(text).encode())
    body = struct.pack("<I", len(packed)) + packed + body[4 + length :]
    forged = struct.pack("<4sBII", b"BTWX", FORMAT, len(body), zlib.crc32(body)) + body
    with pytest.raises(InputError, match="does not understand"):
        unpack(forged, "x.mkv")
