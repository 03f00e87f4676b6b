"""Are damaged JPEGs refused, and whole ones read? `python -m benchmarks.damaged_jpegs [--files 300] [--seed 0]`

Cuts out pictures of photographs, writes each by three encoders in many forms, takes a part away or changes bytes
behind the header, and reads it. An accepted file's pixels are compared with those of the whole one: what nobody can
see is no harm, a colour that is off over half a picture is.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.demo import IMAGES
from sapiens_pl.pictures import read_image

PHOTOGRAPHS = Path(__file__).parent.parent / "tests" / "golden" / "coco"
VISIBLE = 8
"""Grey levels of 255 by which a pixel must differ to count as wrong."""

Encoder = Callable[[Image.Image], bytes]
Damage = Callable[[bytes, random.Random], bytes]


class Row(NamedTuple):
    """What came of one form of JPEG and one kind of damage; the last is a share of the pixels."""

    form: str
    damage: str
    files: int
    accepted: int
    over_1_percent_wrong: int
    over_10_percent_wrong: int
    most_wrong: float


def by_pillow(mode: str = "RGB", **options: object) -> Encoder:
    def encode(picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        picture.convert(mode).save(buffer, "JPEG", **options)  # type: ignore[arg-type]
        return buffer.getvalue()

    return encode


def by_opencv(*options: int, grey: bool = False) -> Encoder:
    def encode(picture: Image.Image) -> bytes:
        pixels = np.asarray(picture.convert("L")) if grey else np.asarray(picture)[..., ::-1]
        return cv2.imencode(".jpg", pixels, options)[1].tobytes()

    return encode


def by_simplejpeg(**options: object) -> Encoder:
    return lambda picture: simplejpeg.encode_jpeg(np.ascontiguousarray(picture), **options)


WHOLE: dict[str, Encoder] = {
    "OpenCV": by_opencv(),
    "OpenCV, quality 100": by_opencv(cv2.IMWRITE_JPEG_QUALITY, 100),
    "OpenCV, optimised": by_opencv(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "OpenCV, progressive": by_opencv(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "OpenCV, restart": by_opencv(cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    "OpenCV, progressive, restart": by_opencv(cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 5),
    "OpenCV, 4:1:1": by_opencv(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
    "OpenCV, 4:4:0": by_opencv(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "OpenCV, grey": by_opencv(grey=True),
    "OpenCV, grey, progressive": by_opencv(cv2.IMWRITE_JPEG_PROGRESSIVE, 1, grey=True),
    "Pillow": by_pillow(),
    "Pillow, 4:4:4": by_pillow(subsampling=0, quality=95),
    "Pillow, 4:2:2": by_pillow(subsampling=1),
    "Pillow, optimised": by_pillow(optimize=True),
    "Pillow, progressive": by_pillow(progressive=True),
    "Pillow, progressive, 4:4:4": by_pillow(progressive=True, subsampling=0, optimize=True),
    "Pillow, restart by rows": by_pillow(restart_marker_rows=1),
    "Pillow, restart, progressive": by_pillow(restart_marker_blocks=7, progressive=True),
    "Pillow, grey": by_pillow("L"),
    "Pillow, CMYK": by_pillow("CMYK"),
    "Pillow, CMYK, progressive": by_pillow("CMYK", progressive=True),
    "Pillow, EXIF, profile, comment": by_pillow(
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", icc_profile=b"x" * 90000, comment="c"
    ),
    **{f"simplejpeg, {c}": by_simplejpeg(colorsubsampling=c) for c in ("444", "422", "420", "440", "411", "Gray")},
    "simplejpeg, quality 100": by_simplejpeg(quality=100, fastdct=False),
}
DAMAGED: dict[str, Encoder] = {
    "baseline": by_pillow(quality=90),
    "restart": by_opencv(cv2.IMWRITE_JPEG_RST_INTERVAL, 8, cv2.IMWRITE_JPEG_QUALITY, 90),
    "progressive": by_pillow(quality=90, progressive=True),
}


def pictures(rng: random.Random, count: int) -> Iterator[Image.Image]:
    """So many cuttings of the photographs (in a clone) or of the demo's figures."""
    sources = sorted(PHOTOGRAPHS.glob("*.jpg")) or sorted(IMAGES.rglob("*.jpg"))
    opened = [Image.open(path).convert("RGB") for path in sources]
    for _ in range(count):
        source = rng.choice(opened)
        width, height = (rng.randrange(side // 3, side) for side in source.size)
        left, top = rng.randrange(source.width - width), rng.randrange(source.height - height)
        yield source.crop((left, top, left + width, top + height))


def part_missing(data: bytes, rng: random.Random) -> bytes:
    """Between 16 bytes and a third of the file, somewhere behind the first scan's header."""
    begin = rng.randrange(data.find(b"\xff\xda") + 14, len(data) - 100)
    return data[:begin] + data[min(begin + rng.randrange(16, len(data) // 3), len(data) - 2) :]


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """1 to 512 bytes in a row, behind the first scan's header."""
    begin, length = rng.randrange(data.find(b"\xff\xda") + 14, len(data) - 520), rng.choice([1, 4, 16, 64, 512])
    return data[:begin] + rng.randbytes(length) + data[begin + length :]


DAMAGES: dict[str, Damage] = {"part missing": part_missing, "bytes changed": bytes_changed}


def read(data: bytes, folder: Path) -> np.ndarray | None:
    path = folder / "picture.jpg"
    path.write_bytes(data)
    try:
        return read_image(str(path)).pixels
    except SapiensError:
        return None


def refused_whole(rng: random.Random, count: int, folder: Path) -> list[str]:
    """The forms of the whole files that were refused, of `count` for each form."""
    return [
        form
        for form, encode in WHOLE.items()
        for picture in pictures(rng, count)
        if read(encode(picture), folder) is None
    ]


def accepted_damaged(form: str, damage: str, rng: random.Random, count: int, folder: Path) -> Row:
    wrong = []
    for picture in pictures(rng, count):
        data = DAMAGED[form](picture)
        whole, pixels = read(data, folder), read(DAMAGES[damage](data, rng), folder)
        assert whole is not None
        if pixels is not None:
            differs = pixels.shape != whole.shape or np.abs(pixels.astype(int) - whole).max(axis=2) > VISIBLE
            wrong.append(float(np.mean(differs)))
    counts = (sum(share > limit for share in wrong) for limit in (0.01, 0.1))
    return Row(form, damage, count, len(wrong), *counts, max(wrong, default=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300, help="of each form and damage")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print("| JPEG | damage | files | accepted | over 1% wrong | over 10% wrong | most wrong |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for form in DAMAGED:
            for damage in DAMAGES:
                *counts, most = accepted_damaged(form, damage, random.Random(args.seed), args.files, folder)
                print("| " + " | ".join(map(str, counts)) + f" | {most:.0%} |", flush=True)
        each = -(-args.files // len(WHOLE))
        refused = refused_whole(random.Random(args.seed), each, folder)
        print(f"\nWhole: {each * len(WHOLE)} files, {len(WHOLE)} forms of 3 encoders: {len(refused)} refused {refused}")


if __name__ == "__main__":
    main()
