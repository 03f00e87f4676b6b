"""Small real videos, made with PyAV, each of whose frames carries its number in its pixels.

A frame is a grey field with a number of twelve bits along its upper edge: blocks of 16x16 px, black or white, which
stay readable after lossy coding. Below, a bright square moves to the right, so that frames differ in motion as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

BLOCK, NUM_BITS = 16, 12
FRAME_WH = (BLOCK * NUM_BITS, 96)
"""Width and height of the smallest frame that has room."""
_BLACK, _WHITE, _GREY = 16, 235, 120


def picture(number: int, wh: tuple[int, int] = FRAME_WH) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the frame of this number."""
    width, height = wh
    pixels = np.full((height, width, 3), _GREY, np.uint8)
    for bit in range(NUM_BITS):
        pixels[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = _WHITE if number >> bit & 1 else _BLACK
    left = 7 * number % (width - 32)
    pixels[BLOCK + 16 : BLOCK + 48, left : left + 32] = (40, 80 + number % 100, 220)
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """The number in an upright frame of `picture`."""
    middle = pixels[BLOCK // 4 : 3 * BLOCK // 4].mean((0, 2))
    means = [middle[bit * BLOCK + BLOCK // 4 : (bit + 1) * BLOCK - BLOCK // 4].mean() for bit in range(NUM_BITS)]
    assert all(mean < 80 or mean > 170 for mean in means), f"no number in these pixels: {np.round(means)}"
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 125)


def make_clip(
    path: str | Path,
    num_frames: int = 30,
    *,
    fps: float | Fraction = 30,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30000),
    wh: tuple[int, int] = FRAME_WH,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 2,
    open_gop: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    mirror: bool = False,
    pixel_aspect: Fraction | None = None,
    colour: dict[str, int] | None = None,
    audio: bool = False,
    first_number: int = 0,
    pictures: Sequence[np.ndarray] | None = None,
) -> Path:
    """Writes a video; its container follows from the suffix.

    Args:
        fps: frames a second, where `times` are not given.
        times: of each frame, in units of `time_base`: a variable frame rate.
        gop: frames from keyframe to keyframe, at most.
        b_frames: how many frames may stand between two that they are predicted from.
        open_gop: frames before a keyframe may lean on it.
        options: of the encoder; `container_options`: of the container (`{"movflags": "faststart"}`).
        rotation: degrees clockwise by which a player turns the frames (0, 90, 180, 270); `mirror`: and then mirrors
            them left to right. Only for MP4 and MOV. The pixels of `picture` are then what a player shows.
        pixel_aspect: width of a pixel by its height.
        colour: of the codec context: `color_range`, `colorspace`, `color_trc`, `color_primaries`.
        audio: with a tone of the video's length.
        first_number: the number that the first frame shows.
        pictures: shown instead of `picture`.
    """
    import av

    path = Path(path)
    step = round(1 / Fraction(fps) / time_base)
    times = [index * step for index in range(num_frames)] if times is None else list(times)
    shown = [picture(first_number + index, wh) for index in range(len(times))] if pictures is None else pictures
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=round(Fraction(fps)))
        stored = [_unturned(each, rotation, mirror) for each in shown]
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = time_base
        context.gop_size = gop
        stream.time_base = time_base
        if codec in ("mpeg4", "mpeg2video"):
            context.max_b_frames = b_frames
        context.options = _options(codec, gop, b_frames, open_gop) | (options or {})
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        for name, value in (colour or {}).items():
            setattr(context, name, value)
        sound = container.add_stream("aac", rate=16000) if audio else None
        for time, pixels in zip(times, stored):
            frame = av.VideoFrame.from_ndarray(pixels, "bgr24").reformat(
                format=pix_fmt, **_reformatting(colour or {}), interpolation="BICUBIC"
            )
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_tone(container, sound, float((times[-1] - times[0] + step) * time_base))
    if rotation or mirror:
        turn(path, rotation, mirror)
    return path


def _options(codec: str, gop: int, b_frames: int, open_gop: bool) -> dict[str, str]:
    if codec == "libx264":
        way = {"bf": str(b_frames), "b_strategy": "0", "sc_threshold": "0", "preset": "veryfast", "crf": "12"}
        return way | {"x264-params": f"open-gop={int(open_gop)}:keyint={gop}:min-keyint={gop}:threads=1"}
    if codec == "libx265":
        params = f"open-gop={int(open_gop)}:keyint={gop}:min-keyint={gop}:bframes={b_frames}:b-adapt=0:scenecut=0"
        return {"x265-params": f"{params}:log-level=none:pools=1:frame-threads=1", "preset": "ultrafast", "crf": "12"}
    return {}


def _reformatting(colour: dict[str, int]) -> dict[str, Any]:
    """How the drawn pixels become those of the codec."""
    matrices = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: "BT2020"}
    way: dict[str, Any] = {"dst_color_range": "JPEG" if colour.get("color_range") == 2 else "MPEG"}
    if colour.get("colorspace") in matrices:
        way["dst_colorspace"] = matrices[colour["colorspace"]]
    return way


def _unturned(pixels: np.ndarray, rotation: int, mirror: bool) -> np.ndarray:
    """What is to be stored, so that a player shows the pixels."""
    pixels = pixels[:, ::-1] if mirror else pixels
    return np.ascontiguousarray(np.rot90(pixels, rotation // 90))


def _add_tone(container: Any, stream: Any, seconds: float) -> None:
    import av

    samples = (2000 * np.sin(np.arange(int(16000 * seconds)) * 0.17)).astype(np.int16)
    for begin in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 1024], "s16", "mono")
        frame.sample_rate, frame.pts = 16000, begin
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def turn(path: str | Path, rotation: int, mirror: bool = False) -> None:
    """Writes a display matrix into the header of an MP4's first video track (ISO 14496-12, tkhd)."""
    matrix = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation]
    a, b, c, d = (value * (-1 if mirror and place in (0, 2) else 1) for place, value in enumerate(matrix))
    data = bytearray(Path(path).read_bytes())
    place = data.index(b"tkhd") + 4
    place += 40 if data[place] == 0 else 52
    for offset, value in zip((0, 4, 12, 16), (a, b, c, d)):
        data[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    Path(path).write_bytes(data)


def trim(path: str | Path, start: int) -> None:
    """Moves the beginning of an MP4's video later by an edit list, by `start` units of the track's time scale.

    The file must have one already, as those with B-frames do (ISO 14496-12, elst).
    """
    data = bytearray(Path(path).read_bytes())
    place = data.index(b"elst") + 4
    assert data[place] == 0
    media_time = int.from_bytes(data[place + 12 : place + 16], "big") + start
    data[place + 12 : place + 16] = media_time.to_bytes(4, "big")
    Path(path).write_bytes(data)


def damage(path: str | Path, at: float = 0.5, num_bytes: int = 400) -> None:
    """Overwrites bytes in the middle of a file, or at another part of its length."""
    data = bytearray(Path(path).read_bytes())
    begin = int(len(data) * at)
    data[begin : begin + num_bytes] = np.random.default_rng(0).integers(0, 256, num_bytes, np.uint8).tobytes()
    Path(path).write_bytes(data)


def cut(path: str | Path, at: float = 0.6) -> None:
    """Leaves the first part of a file, of this part of its length."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * at)])
