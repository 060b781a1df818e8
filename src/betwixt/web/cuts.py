"""The cuts of a video as the user has corrected them, and how conversions get them.

    WORK/cuts/KEY.json           what was found, what was removed, what was added
    WORK/cuts/KEY-DIGEST.txt     a corrected list, as `scene_cuts` reads it

KEY is a hash of the video's path, size and time. A list is never changed: a job that is waiting or interrupted goes on
with the cuts it was queued with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from bisect import bisect_left
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from betwixt.files import files_fingerprint, write_atomically


@dataclass(frozen=True)
class VideoCuts:
    """The cuts of a video; frames are numbered from 0, and a cut is the number of the first frame of the new shot.

    Attributes:
        times: The times of all frames, in seconds from the beginning.
        found: The cuts that were found.
        removed: Those of them that are none.
        added: Further cuts.
    """

    times: tuple[float, ...]
    found: tuple[int, ...]
    removed: frozenset[int] = frozenset()
    added: frozenset[int] = field(default=frozenset())

    @property
    def listed(self) -> list[int]:
        """All cuts that were found or added, with those that were removed."""
        return sorted({*self.found, *self.added})

    @property
    def cuts(self) -> list[int]:
        """The cuts that a conversion uses."""
        return sorted({*self.found, *self.added} - self.removed)

    @property
    def is_corrected(self) -> bool:
        """Whether the user has changed anything."""
        return bool(self.removed or self.added)

    def toggle(self, frame: int) -> VideoCuts:
        """These cuts with one of `listed` removed, or put back if it was; an added one is forgotten."""
        if frame in self.added:
            return replace(self, added=self.added - {frame})
        return replace(self, removed=self.removed ^ ({frame} & {*self.found}))

    def add(self, frame: int) -> VideoCuts:
        """These cuts with one more; the first frame of a video begins no new shot."""
        if not 0 < frame < len(self.times):
            return self
        if frame in self.found:
            return replace(self, removed=self.removed - {frame})
        return replace(self, added=self.added | {frame})

    def frame_at(self, time: float) -> int:
        """The number of the frame nearest to a time."""
        after = bisect_left(self.times, time)
        candidates = [n for n in (after - 1, after) if 0 <= n < len(self.times)]
        return min(candidates, key=lambda n: abs(self.times[n] - time), default=0)


class CutStore:
    """The cuts of videos in a work folder.

    Args:
        work: The work folder.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "cuts"

    def load(self, video: Path) -> VideoCuts | None:
        """The cuts of a video; None if they have not been looked for."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            values: dict[str, Any] = json.loads(self._path(video).read_text(encoding="utf-8"))
            return VideoCuts(
                tuple(values["times"]), tuple(values["found"]), frozenset(values["removed"]), frozenset(values["added"])
            )
        return None

    def save(self, video: Path, cuts: VideoCuts) -> None:
        """Keep the cuts of a video.

        Raises:
            OutputError: if they cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        values = asdict(cuts) | {"removed": sorted(cuts.removed), "added": sorted(cuts.added)}
        write_atomically(self._path(video), json.dumps(values))

    def options(self, video: Path) -> dict[str, Any]:
        """The options of a conversion that make it use the corrected cuts; none if nothing was corrected.

        Raises:
            OutputError: if the list cannot be written.
        """
        cuts = self.load(video)
        if cuts is None or not cuts.is_corrected:
            return {}
        content = "".join(f"{frame}  # {cuts.times[frame]:.3f} s\n" for frame in cuts.cuts)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        path = self._path(video).with_suffix("")
        path = path.with_name(f"{path.name}-{digest}.txt")
        if not path.exists():
            write_atomically(path, content)
        return {"scene_cuts": str(path)}

    def _path(self, video: Path) -> Path:
        return self._folder / f"{files_fingerprint([video])[:32]}.json"
