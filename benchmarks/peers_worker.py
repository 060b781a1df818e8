"""Makes new frames by one method, as a process of its own; `benchmarks/peers.py` starts it and asks it.

    python benchmarks/peers_worker.py METHOD [GRAPH]

GRAPH is RIFE 4.6 in the layout vs-mlrt-v2 (`betwixt weights export`), for the method that runs it.

Source frames are (N, H * 3 / 2, W) uint8, planar 4:2:0, in an .npy file. Each line on standard input is a request,
which one line on standard output answers, both JSON:

    {"source": PATH, "target": PATH}                the frames halfway between neighbours, to an .npy file
    {"source": PATH, "warm_up": N, "count": N}      the seconds that each of `count` such frames took

For times, the source plays forwards and backwards without end; the frames after the first `warm_up` count, and are
thrown away. Every method uses all cores. The first line on standard output says {"version": ..}, or {"missing": ..} why
the method cannot run here. Nothing outside the standard library but NumPy is needed until a method needs it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

MakeFrames = Callable[[np.ndarray, int], Iterator[Any]]
"""Makes the frames halfway between neighbours of source frames, and between the same in reverse, and so on: so many."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _play(count: int) -> Iterator[int]:
    """The numbers of source frames, forwards and backwards without end."""
    return itertools.cycle([*range(count), *range(count - 2, 0, -1)])


# -- VapourSynth: SVPflow, MVTools, vs-mlrt and Betwixt


def _svpflow(clip: Any, core: Any, analysis: str = "{}", smoothing: str = "") -> Any:
    pyramid = core.svp1.Super(clip, "{gpu:0}")
    vectors = core.svp1.Analyse(pyramid["clip"], pyramid["data"], clip, analysis)
    options = "{rate:{num:2,den:1},gpuid:0" + smoothing + "}"
    return core.svp2.SmoothFps(clip, pyramid["clip"], pyramid["data"], vectors["clip"], vectors["data"], options)


_FINER = "{block:{w:16,h:16,overlap:2},main:{search:{coarse:{distance:-10}}},refine:[{thsad:200}]}"
"""SVPflow's blocks of 16 pixels, which overlap by a quarter, are refined to 8 where they match badly."""


_NO_SCENES = ",scene:{mode:0}"
"""Otherwise it takes fast motion for a cut, and repeats a frame."""


def _mvtools(clip: Any, core: Any) -> Any:
    pyramid = core.mv.Super(clip, pel=1)
    vectors = [core.mv.Analyse(pyramid, isb=isb, blksize=16) for isb in (1, 0)]
    return core.mv.FlowFPS(clip, pyramid, *vectors, num=2 * clip.fps_num, den=clip.fps_den)


def _mvtools_finer(clip: Any, core: Any) -> Any:
    pyramid = core.mv.Super(clip, pel=2)
    vectors = [core.mv.Analyse(pyramid, isb=isb, blksize=16, overlap=8) for isb in (1, 0)]
    vectors = [core.mv.Recalculate(pyramid, v, blksize=8, overlap=4) for v in vectors]
    rate = {"num": 2 * clip.fps_num, "den": clip.fps_den}
    # The thresholds are those of a scene change, which is not looked for here.
    return core.mv.FlowFPS(clip, pyramid, *vectors, **rate, thscd1=10000, thscd2=255)


def _mlrt(clip: Any, core: Any) -> Any:
    import vapoursynth as vs

    rgb = clip.resize.Bicubic(format=vs.RGBS, matrix_in_s="170m")
    time = core.std.BlankClip(rgb, format=vs.GRAYS, color=0.5, keep=True)
    middle = core.ov.Model([rgb, rgb[1:] + rgb[-1], time], sys.argv[2])
    return core.std.Interleave([clip, middle.resize.Bicubic(format=clip.format.id, matrix_s="170m")])


def _betwixt(model: str) -> Callable[[Any, Any], Any]:
    def double_rate(clip: Any, core: Any) -> Any:
        from betwixt.integrations.vapoursynth import interpolate

        return interpolate(clip, model)

    return double_rate


_SCRIPTS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "svpflow": ("svp1", _svpflow),
    "svpflow-finer": ("svp1", lambda clip, core: _svpflow(clip, core, _FINER, _NO_SCENES)),
    "svpflow-23": ("svp1", lambda clip, core: _svpflow(clip, core, _FINER, f"{_NO_SCENES},algo:23")),
    "mvtools": ("mv", _mvtools),
    "mvtools-finer": ("mv", _mvtools_finer),
    "mlrt-rife": ("ov", _mlrt),
    **{f"vs-{model}": ("std", _betwixt(model)) for model in ("fast", "dis", "compact", "hybrid")},
}
"""Of VapourSynth's methods: the plugin, and what doubles the rate of a clip."""


def _open_vapoursynth(method: str) -> tuple[str, MakeFrames]:
    import vapoursynth as vs

    program = ""
    if method.startswith("vs-"):
        # Before the first use of `vs.core`: it loads OpenVINO, of which vs-mlrt's plugin brings another build.
        import betwixt.integrations.vapoursynth

        program = f"betwixt {betwixt.__version__} in VapourSynth"
    core = vs.core
    core.num_threads = _cores()
    plugin, double_rate = _SCRIPTS[method]
    if not hasattr(core, plugin):
        raise ImportError(f"VapourSynth has no plugin {plugin}")
    if method == "mlrt-rife" and len(sys.argv) < 3:
        raise ImportError("it needs a graph, and the package onnx to export it")

    def make(source: np.ndarray, count: int) -> Iterator[Any]:
        number, rows, width = source.shape
        height = rows * 2 // 3
        order = list(itertools.islice(_play(number), count + 1))
        blank = core.std.BlankClip(
            format=vs.YUV420P8, width=width, height=height, length=count + 1, fpsnum=24, fpsden=1, keep=True
        )
        empty = blank.get_frame(0)
        stored = [_fill(empty.copy(), image) for image in source]
        clip = blank.std.ModifyFrame(blank, lambda n, f: stored[order[n]])
        # The clip ends with the last frame that is wanted: nothing is under way when it is let go.
        made = double_rate(clip, core)[1::2][:count]
        return made.frames(prefetch=2 * _cores(), close=True)

    return f"{program or f'{plugin} of VapourSynth'} {core.core_version.release_major}", make


def _fill(frame: Any, image: np.ndarray) -> Any:
    """A frame of VapourSynth with the samples of (H * 3 / 2, W)."""
    rows, width = image.shape
    height = rows * 2 // 3
    chroma = image[height:].reshape(2, height // 2, width // 2)
    for number, plane in enumerate((image[:height], *chroma)):
        np.copyto(np.asarray(frame[number]), plane)
    return frame


# -- FFmpeg's minterpolate and Betwixt


def _open_minterpolate(method: str) -> tuple[str, MakeFrames]:
    import av
    import av.filter

    def make(source: np.ndarray, count: int) -> Iterator[Any]:
        images = [av.VideoFrame.from_ndarray(image, format="yuv420p") for image in source]
        graph = av.filter.Graph()
        buffer = graph.add_buffer(
            width=images[0].width, height=images[0].height, format=images[0].format, time_base=Fraction(1)
        )
        graph.link_nodes(buffer, graph.add("minterpolate", "fps=2:scd=none"), graph.add("buffersink")).configure()
        made = 0
        # The filter delays its output: repeats of the last frame flush the end of a finite clip.
        numbers = (
            _play(len(images)) if count >= len(images) else itertools.chain(range(len(images)), itertools.repeat(-1))
        )
        for position, number in enumerate(numbers):
            frame = images[number]
            frame.pts, frame.time_base = position, Fraction(1)
            graph.vpush(frame)
            while True:
                try:
                    result = graph.vpull()
                except av.error.BlockingIOError:
                    break
                if result.pts * result.time_base % 1:
                    yield result
                    made += 1
                    if made == count:
                        return

    return f"libavfilter {'.'.join(map(str, av.library_versions['libavfilter']))}", make


def _open_betwixt(method: str) -> tuple[str, MakeFrames]:
    import av

    import betwixt
    from betwixt.errors import BetwixtError
    from betwixt.media.colour import colour_of
    from betwixt.models.registry import MODELS
    from betwixt.runtime.parallel import map_in_order
    from betwixt.runtime.synthesis import PairSynthesis, Synthesizer
    from betwixt.runtime.threads import one_frame_per_thread

    if method not in MODELS:
        raise ImportError(f"Betwixt has no model {method}")
    try:
        model = betwixt.load_model(method, "cpu")
    except BetwixtError as error:
        raise ImportError(str(error)) from None

    def make(source: np.ndarray, count: int) -> Iterator[Any]:
        images = [av.VideoFrame.from_ndarray(image, format="yuv420p") for image in source]
        synthesizer = Synthesizer(model, images[0], colour_of(images[0]))

        def pairs() -> Iterator[PairSynthesis]:
            numbers = itertools.islice(_play(len(images)), count + 1)
            frames = (synthesizer.source(images[number]) for number in numbers)
            previous = None
            for first, second in itertools.pairwise(frames):
                pair = PairSynthesis(synthesizer, first, second)
                if previous is not None:
                    # Neighbours share their motion, as in conversions; a pair is made once it knows the next one.
                    pair.link_previous(previous, 1.0, 1.0)
                    yield previous
                previous = pair
            if previous is not None:
                yield previous

        with one_frame_per_thread(model, _cores()):
            yield from map_in_order(pairs(), lambda pair: pair.synthesize([Fraction(1, 2)])[0], _cores())

    return f"betwixt {betwixt.__version__}", make


def _open(method: str) -> tuple[str, MakeFrames]:
    """The version of a method and what makes its frames.

    Raises:
        ImportError: if something is missing.
    """
    if method in _SCRIPTS:
        return _open_vapoursynth(method)
    return _open_minterpolate(method) if method == "minterpolate" else _open_betwixt(method)


def _to_array(frame: Any) -> np.ndarray:
    """(H * 3 / 2, W) of a frame of VapourSynth or PyAV."""
    if hasattr(frame, "to_ndarray"):
        return np.asarray(frame.to_ndarray())
    y, u, v = (np.asarray(plane) for plane in frame)
    return np.concatenate((y, u.reshape(-1, y.shape[1]), v.reshape(-1, y.shape[1])))


def _answer(make: MakeFrames, request: dict[str, Any]) -> dict[str, Any]:
    source = np.load(request["source"])
    if "target" in request:
        np.save(request["target"], np.stack([_to_array(frame) for frame in make(source, len(source) - 1)]))
        return {}
    warm_up, count = request["warm_up"], request["count"]
    times = [time.perf_counter() for _ in make(source, warm_up + count)]
    return {"seconds": (times[-1] - times[warm_up - 1]) / count}


def main() -> None:
    """Answer requests until standard input ends."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        version, make = _open(sys.argv[1])
    except ImportError as error:
        reply({"missing": str(error)})
        return
    reply({"version": version})
    for line in sys.stdin:
        reply(_answer(make, json.loads(line)))


if __name__ == "__main__":
    main()
