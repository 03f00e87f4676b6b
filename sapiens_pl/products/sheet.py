"""Contact sheets: small pictures of a run with their poses, many on a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.settings import check, either, number, whole_number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.core.terminal import printable
from sapiens_pl.core.wording import counted, one_line
from sapiens_pl.products.overlay import PARTS, draw_poses, to_jpeg

_SETTINGS = {
    "overlay_score_threshold": number(),
    "overlay_parts": either(PARTS, None),
    "sheet_pictures": either(whole_number(1), None),
    "sheet_columns": whole_number(1),
}
_ROWS = 6
CELL_WH, _CAPTION, _MARGIN, _HEAD = (320, 240), 40, 12, 44
"""px."""
_BACK, _EMPTY, _INK, _GREY = (250, 250, 250), (232, 232, 232), (25, 25, 25), (110, 110, 110)


class ContactSheet(RunProduct):
    """`sheets/sheet-001.jpg` and so on.

    Args:
        score_threshold: keypoints with a lower score are not drawn.
        parts: of the body, those whose keypoints are drawn; None: all.
        pictures: the most pictures, chosen evenly among those that are done, in the order of their names; None: all.
        columns: pictures in a row.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    outputs = ("sheets/",)
    photograph: Callable[[PoseResult], np.ndarray] | None = None

    def __init__(
        self, score_threshold: float, parts: Sequence[str] | None = None, pictures: int | None = 240, columns: int = 8
    ) -> None:
        given = {"overlay_score_threshold": score_threshold, "overlay_parts": parts}
        check(_SETTINGS, given | {"sheet_pictures": pictures, "sheet_columns": columns}, "output")
        self._score_threshold, self._parts, self._most, self._columns = score_threshold, parts, pictures, columns
        self.needs = tuple(parts or ())

    def write(self, records: Records, folder: Path) -> None:
        (folder / "sheets").mkdir()
        chosen, total = evenly(records.results(), self._most)
        a_page = self._columns * _ROWS
        for page, start in enumerate(range(0, len(chosen) or 1, a_page), 1):
            some = chosen[start : start + a_page]
            sheet = self._page(some, _heading(start, len(some), len(chosen), total), records.keypoint_set)
            (folder / "sheets" / f"sheet-{page:03}.jpg").write_bytes(to_jpeg(sheet))

    def _page(self, results: Sequence[PoseResult], heading: str, keypoint_set: KeypointSet) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        wide, high = CELL_WH[0] + _MARGIN, CELL_WH[1] + _CAPTION + _MARGIN
        columns, rows = min(self._columns, max(len(results), 2)), max(1, -(-len(results) // self._columns))
        sheet = np.full((_HEAD + rows * high, _MARGIN + columns * wide, 3), _BACK, np.uint8)
        corners = [(_MARGIN + i % self._columns * wide, _HEAD + i // self._columns * high) for i in range(len(results))]
        for result, (left, top) in zip(results, corners):
            cell = sheet[top : top + CELL_WH[1], left : left + CELL_WH[0]]
            cell[:] = _EMPTY
            self._draw(cell, result, keypoint_set)
        image = Image.fromarray(sheet)  # its greys are the same in either order of channels
        pen = ImageDraw.Draw(image)
        pen.text((_MARGIN, 12), heading, _INK, _font(18))
        for result, (left, top) in zip(results, corners):
            name = _fitting(result.name, _font(13), CELL_WH[0])
            pen.text((left, top + CELL_WH[1] + 3), name, _INK, _font(13))
            pen.text((left, top + CELL_WH[1] + 20), _caption(result), _GREY, _font(12))
        return np.asarray(image)

    def _draw(self, cell: np.ndarray, result: PoseResult, keypoint_set: KeypointSet) -> None:
        """The picture in the middle of its place; a sentence, where it cannot be read."""
        assert self.photograph is not None, "whoever has it made says how pictures are read"
        try:
            pixels = self.photograph(result)
        except SapiensError as error:
            _write_sentence(cell, one_line(error))
            return
        scale = min(CELL_WH[0] / pixels.shape[1], CELL_WH[1] / pixels.shape[0], 1.0)
        wh = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
        small = cv2.resize(pixels, wh, interpolation=cv2.INTER_AREA) if scale < 1 else pixels.copy()
        draw_poses(small, result, keypoint_set, self._score_threshold, labels=False, parts=self._parts)
        left, top = (CELL_WH[0] - wh[0]) // 2, (CELL_WH[1] - wh[1]) // 2
        cell[top : top + wh[1], left : left + wh[0]] = small


def evenly(results: Iterable[PoseResult], most: int | None) -> tuple[list[PoseResult], int]:
    """At most `most` results, evenly spread, and the number of all; never more than twice as many are in memory."""
    kept: list[PoseResult] = []
    step, total = 1, 0
    for total, result in enumerate(results, 1):
        if (total - 1) % step == 0:
            kept.append(result)
            if most is not None and len(kept) > 2 * most:
                kept, step = kept[::2], 2 * step
    if most is not None and len(kept) > most:
        kept = [kept[place] for place in np.linspace(0, len(kept) - 1, most).round().astype(int)]
    return kept, total


def _heading(start: int, count: int, chosen: int, total: int) -> str:
    if not count:
        return "no picture is done"
    spread = f", evenly chosen of {total:,}" if chosen < total else ""
    return f"pictures {start + 1:,} to {start + count:,} of {chosen:,}{spread}"


def _caption(result: PoseResult) -> str:
    size = "" if result.image_wh is None else f"{result.image_wh[0]}x{result.image_wh[1]}"
    if not len(result.instance_ids):
        return f"nobody   {size}"
    scores = instance_scores(result.bbox_scores, result.keypoint_scores)
    return f"{counted(len(scores), 'person', 'people')}, mean score {scores.mean():.2f}   {size}"


def _fitting(name: str, font: Any, width: int) -> str:
    """The name, or as much of its end as there is room for."""
    text = printable(name)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"


def _write_sentence(cell: np.ndarray, text: str) -> None:
    image = Image.fromarray(cell.copy())
    pen, font = ImageDraw.Draw(image), _font(12)
    lines, words = [""], printable(text).replace("/", "/ ").split()
    for word in words:
        longer = f"{lines[-1]} {word}".strip().replace("/ ", "/")
        if font.getlength(longer) > cell.shape[1] - 20:
            lines.append(word)
        else:
            lines[-1] = longer
    pen.text((10, 10), "\n".join(lines[:12]), _GREY, font)
    cell[:] = np.asarray(image)


@lru_cache
def _font(size: int) -> Any:
    """DejaVu, which matplotlib brings, and which has more scripts than Pillow's own."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
