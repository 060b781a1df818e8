// Lets the two videos of a comparison play together: what happens to one is done to the other.
// Media events do not bubble, so they are caught on their way down.
"use strict";

for (const kind of ["play", "pause", "seeked", "ratechange"]) {
  document.addEventListener(kind, (event) => follow(event), true);
}

function follow(event) {
  const video = event.target;
  const comparison = video.closest?.(".compare");
  if (!comparison) return;
  const other = [...comparison.querySelectorAll("video")].find((each) => each !== video);
  if (!other) return;
  // The output of slow motion lasts longer than the input: the input plays slower beside it.
  const slow = Number(comparison.dataset.slow) || 1;
  const isOutput = video.getAttribute("aria-label") === "after";
  const time = isOutput ? video.currentTime / slow : video.currentTime * slow;
  if (Math.abs(other.currentTime - time) > 0.1) other.currentTime = time;
  const rate = Math.min(16, Math.max(0.0625, isOutput ? video.playbackRate / slow : video.playbackRate * slow));
  if (event.type === "ratechange" || event.type === "play") {
    if (Math.abs(other.playbackRate - rate) > 1e-3) other.playbackRate = rate;
  }
  if (event.type === "play" && other.paused) other.play().catch(() => {});
  if (event.type === "pause" && !other.paused && !video.ended) other.pause();
}
