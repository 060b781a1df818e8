"""Decoders and encoders that are closed are freed at once: the garbage collector does not know of their memory."""

import gc

import pytest

from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.reader import Frame, Reader
from betwixt.media.segment import SegmentEncoder, SegmentSettings, segment_parameters
from clips import make_clip


@pytest.fixture
def codecs():
    """Counts the codec contexts that are alive, without collecting garbage."""
    gc.collect()
    gc.disable()
    yield lambda: sum(type(item).__name__ == "VideoCodecContext" for item in gc.get_objects())
    gc.enable()


def test_a_closed_reader_frees_its_decoder(tmp_path, codecs):
    clip = make_clip(tmp_path / "in.mkv", frames=6)
    before = codecs()
    for count in (1, 100):
        reader = Reader(clip)
        items = iter(reader)
        read = [item for _, item in zip(range(count), items, strict=False)]
        assert codecs() == before + 1
        reader.close()
        del reader, items, read
    assert codecs() == before


def test_a_finished_segment_frees_its_encoder(tmp_path, codecs):
    with Reader(make_clip(tmp_path / "in.mkv", frames=6)) as reader:
        frames = [item.video for item in reader if isinstance(item, Frame)]
    settings = SegmentSettings("matroska", reader.info, reader.info.rate, EncoderSettings("h264"), "auto")
    del reader
    before = codecs()
    encoder = SegmentEncoder(settings)
    for number, frame in enumerate(frames):
        encoder.write(frame, number)
    assert len(encoder.finish()) == 6
    assert encoder.parameters == segment_parameters(settings)
    del encoder
    assert codecs() == before
