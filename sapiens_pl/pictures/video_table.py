"""Which frames of a video a player can show, and when: all packets are looked at, none is decoded.

Legend: F frames that can be shown, in their order; N packets, in the order that they are decoded in.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.wording import one_line
from sapiens_pl.pictures.video_end import how_it_ends, why_not_opened

KEYFRAME, CORRUPT = 1, 2
NO_TIME = -(2**63)
_MICROSECONDS = 1_000_000
_SHOWN_FROM_KEYFRAMES = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1", "vc1")
"""Codecs whose decoders return nothing before the first keyframe."""


class VideoTable(NamedTuple):
    """What the scan of a video found.

    Attributes:
        pts: (F,) int64, in units of the stream's time base.
        seconds: (F,) float64, from the beginning of the video, as a player counts.
        packet: (F,) int64, the packet that each frame is in.
        frame: (N,) int64, the frame that is in each packet, -1 for what is not shown.
        start: (N,) int64, the keyframe's packet from which decoding gives what is in each packet; -1 for nothing.
        keys: (N,) int64, times by which packets are known again after a seek; (0,) where they do not tell them apart.
        keys_are_dts: the keys are times of decoding, not of showing.
        flags: (N,) uint8, of `KEYFRAME`, `CORRUPT`.
        restarts: (N,) bool, keyframes at which nothing before is needed any more, nor shown later.
        stream: the stream's index in the file.
        size, mtime_ns: what the file was.
        end: a sentence without its subject that says what is missing at the end; "" for nothing.
    """

    pts: np.ndarray
    seconds: np.ndarray
    packet: np.ndarray
    frame: np.ndarray
    start: np.ndarray
    keys: np.ndarray
    keys_are_dts: bool
    flags: np.ndarray
    restarts: np.ndarray
    stream: int
    size: int
    mtime_ns: int
    end: str = ""


class _Packets(NamedTuple):
    """Of each packet: times in units of the time base, or NO_TIME; `hidden` is decoded and not shown."""

    pts: np.ndarray
    dts: np.ndarray
    flags: np.ndarray
    hidden: np.ndarray


def scan(path: str) -> VideoTable:
    """Reads all packets of a video's file.

    Raises:
        UnreadableImageError: a sentence without its subject; nothing of it can be shown.
    """
    import av

    try:
        status = os.stat(path)
        with opened(path) as container:
            stream = video_stream(container)
            packets, broken = _packets(container, stream)
            keys = _keys(packets)
            if (packets.pts == NO_TIME).any():
                packets = _decoded_times(path, stream.index, packets)
            table = _table(packets, keys, container, stream, status)
            end = how_it_ends(path, container, stream, len(packets.pts), broken)
    except (OSError, av.FFmpegError) as error:
        raise UnreadableImageError(why_not_opened(path, _why(error))) from None
    if not len(table.pts):
        raise UnreadableImageError(f"holds no frame of video that can be shown; fetch it again.{end and ' It ' + end}")
    return table._replace(end=end)


def opened(path: str) -> Any:
    """The file's container, of PyAV."""
    import av

    # Metadata in other encodings must not cost the video; from version 19 on PyAV sees to that itself.
    before = int(av.__version__.partition(".")[0]) < 19
    options: dict[str, Any] = {"metadata_errors": "replace"} if before else {}
    return av.open(f"file:{path}", **options)


def start_of(container: Any) -> Fraction:
    """When a container begins, seconds: it says so in whole microseconds, its streams exactly."""
    said = Fraction(container.start_time or 0, _MICROSECONDS)
    timed = [stream for stream in container.streams if stream.start_time is not None and stream.time_base]
    begins = (stream.start_time * stream.time_base for stream in timed)
    return next((begin for begin in begins if abs(begin - said) < Fraction(1, _MICROSECONDS)), said)


def video_stream(container: Any) -> Any:
    """The stream that a player shows.

    Raises:
        UnreadableImageError: there is none, or no decoder for it.
    """
    videos = [stream for stream in container.streams.video if not _is_picture(stream)]
    if not videos:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        cover = " and a cover picture" if container.streams.video else ""
        held = " and ".join(kinds) or "nothing"
        raise UnreadableImageError(f"has no video in it, only {held}{cover}; remove it from the list.")
    best = container.streams.best("video")
    stream = best if best in videos else videos[0]
    if stream.codec_context is None:
        raise UnreadableImageError("is coded in a way that this FFmpeg has no decoder for; convert it to H.264.")
    return stream


def _is_picture(stream: Any) -> bool:
    """A cover, or thumbnails."""
    import av.stream

    return bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))


def _packets(container: Any, stream: Any) -> tuple[_Packets, str]:
    """All of the stream's, and what the demuxer said if it stopped with an error."""
    import av

    pts, dts, flags, hidden, broken = [], [], [], [], ""
    is_vp8 = stream.codec_context.name == "vp8"
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the last one, which flushes
                continue
            pts.append(NO_TIME if packet.pts is None else packet.pts)
            dts.append(NO_TIME if packet.dts is None else packet.dts)
            flags.append(KEYFRAME * packet.is_keyframe + CORRUPT * packet.is_corrupt)
            hidden.append(packet.is_discard or (is_vp8 and not bytes(packet)[0] & 0x10))
    except av.FFmpegError as error:
        broken = _why(error)
    columns = np.array(pts, np.int64), np.array(dts, np.int64), np.array(flags, np.uint8), np.array(hidden, bool)
    return _Packets(*columns), broken


def _decoded_times(path: str, index: int, packets: _Packets) -> _Packets:
    """The same with the times of a container that says them only when frames are decoded (AVI, bare streams)."""
    import av

    pts, hidden = np.full(len(packets.pts), NO_TIME, np.int64), np.ones(len(packets.pts), bool)
    with opened(path) as container:
        stream = container.streams[index]
        stream.codec_context.copy_opaque = True
        step = _step(stream)
        time = -step
        for place, packet in enumerate(container.demux(stream)):
            if packet.size:
                packet.opaque = [place]
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                if packet.size:
                    continue
                break
            for frame in frames:
                known = frame.pts if frame.pts is not None else frame.dts
                if known is None or (not packet.size and known < time + step // 2):  # a guess of FFmpeg's
                    time += step
                else:
                    step, time = known - time if known > time >= 0 else step, known
                (number,) = frame.opaque
                pts[number], hidden[number] = time, False
    return packets._replace(pts=pts, hidden=hidden | packets.hidden)


def _step(stream: Any) -> int:
    """Units of the time base from frame to frame, where nothing else is said."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return max(1, round(1 / (rate * stream.time_base))) if rate else 1


def _table(
    packets: _Packets, keys: tuple[np.ndarray, bool], container: Any, stream: Any, status: os.stat_result
) -> VideoTable:
    keyframes, order = np.flatnonzero(packets.flags & KEYFRAME), _order(packets)
    start = _starts(order, keyframes)
    hidden = packets.hidden | (packets.pts == NO_TIME)
    if len(keyframes) and stream.codec_context.name in _SHOWN_FROM_KEYFRAMES:
        # What a cut has left of a group of frames: it depends on frames that are gone.
        torn = (order < order[keyframes[0]]) | (np.arange(len(order)) < keyframes[0])
        hidden, start = hidden | torn, np.where(torn, -1, start)
    shown = np.flatnonzero(~hidden)
    packet = shown[np.argsort(order[shown], kind="stable")]
    frame = np.full(len(hidden), -1, np.int64)
    frame[packet] = np.arange(len(packet))
    return VideoTable(
        pts=packets.pts[packet],
        seconds=packets.pts[packet] * float(stream.time_base) - float(start_of(container)),
        packet=packet,
        frame=frame,
        start=start,
        keys=keys[0],
        keys_are_dts=keys[1],
        flags=packets.flags,
        restarts=_restarts(order, packets.flags, packets.pts != NO_TIME),
        stream=stream.index,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def _order(packets: _Packets) -> np.ndarray:
    """(N,) int64: where each packet stands in the order of showing.

    By the times, but never across a place where the clock is set back, as in a recording that was stopped and resumed.
    """
    timed = np.flatnonzero(packets.dts != NO_TIME)
    set_back = np.zeros(len(packets.dts), np.int64)
    set_back[timed[1:]] = packets.dts[timed[1:]] < packets.dts[timed[:-1]]
    order = np.empty(len(set_back), np.int64)
    order[np.lexsort([packets.pts, np.cumsum(set_back)])] = np.arange(len(set_back))
    return order


def _starts(order: np.ndarray, keyframes: np.ndarray) -> np.ndarray:
    """(N,) int64: the last keyframe that is neither decoded nor shown after each packet.

    What precedes a keyframe in showing, and follows it in decoding, depends on frames before it.
    """
    packets = np.arange(len(order))
    if not len(keyframes):
        return np.zeros(len(order), np.int64)
    which = np.searchsorted(keyframes, packets, side="right") - 1
    while (later := (which > 0) & (order[keyframes[which]] > order)).any():
        which[later] -= 1
    return keyframes[np.maximum(which, 0)]


def _restarts(order: np.ndarray, flags: np.ndarray, has_time: np.ndarray) -> np.ndarray:
    """(N,) bool: keyframes that are shown after all that is decoded before, and before all that is decoded after."""
    if not len(order):
        return np.zeros(0, bool)
    before = np.maximum.accumulate(np.concatenate([[-1], np.where(has_time, order, -1)[:-1]]))
    after = np.minimum.accumulate(np.where(has_time, order, len(order))[::-1])[::-1]
    return (flags & KEYFRAME).astype(bool) & (before < order) & (order == after)


def _keys(packets: _Packets) -> tuple[np.ndarray, bool]:
    for times in (packets.pts, packets.dts):
        if (times != NO_TIME).all() and len(np.unique(times)) == len(times):
            return times, times is packets.dts
    return np.zeros(0, np.int64), False


def _why(error: Exception) -> str:
    """FFmpeg's own words, without the path."""
    return one_line(getattr(error, "strerror", None) or error)
