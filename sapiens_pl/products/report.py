"""A whole run in one HTML file that needs no server and no network, and `worst.csv` beside it.

The records are read in one pass; in memory are histograms, the few people who are shown, and
some numbers a person. The page asks for nothing outside of itself, and says so to the browser
(`Content-Security-Policy`); whatever comes from files is text in it, never markup.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import MakingStopped, Records, RunProduct
from sapiens_pl.core.run_facts import RunFacts
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.core.wording import shortened
from sapiens_pl.products import report_facts, suspicions
from sapiens_pl.products.report_figures import Figures
from sapiens_pl.products.report_galleries import Galleries, Gallery, Pick
from sapiens_pl.products.report_pictures import Pictures, people_of, view_of
from sapiens_pl.products.suspicions import LOW_SCORE, REASONS, judged, low_excesses, low_limit, severities
from sapiens_pl.products.worst import WorstTable

_ASSETS = Path(__file__).parent / "report_page"
_NAME_LENGTH = 300
_NO_FACTS = RunFacts({}, lambda: iter(()), lambda: False)


def _no_photograph(result: PoseResult) -> np.ndarray:
    raise UnreadableImageError("it is not known where the picture lies.")


class Report(RunProduct):
    """`report.html` and `worst.csv`.

    Args:
        score_threshold: keypoints with a lower score are not drawn, and count for no suspicion but the score.

    Attributes:
        photograph, facts: as for all products that ask for them.

    Raises:
        ConfigError: it is not a number.
    """

    outputs = ("report.html", "worst.csv")

    def __init__(self, score_threshold: float) -> None:
        check({"overlay_score_threshold": number()}, {"overlay_score_threshold": score_threshold}, "output")
        self._threshold = score_threshold
        self.photograph: Callable[[PoseResult], np.ndarray] = _no_photograph
        self.facts: RunFacts = _NO_FACTS

    def write(self, records: Records, folder: Path) -> None:
        keypoint_set = records.keypoint_set
        figures, galleries = Figures(keypoint_set), Galleries(keypoint_set)
        with TemporaryFile(dir=folder) as lines:
            worst = WorstTable(lines)
            for people in judged(records.results(), keypoint_set, self._threshold):
                self._unless_stopped()
                figures.add(people)
                galleries.add(people)
                worst.add(people)
            limit = low_limit(worst.scores)
            worst.write(folder / "worst.csv")
        page = self._page(figures, galleries.shown(), keypoint_set, limit)
        (folder / "report.html").write_text(page, "utf-8", newline="\n")

    def facts_state(self, facts: RunFacts) -> str:
        """Differs where what the page tells of the run does."""
        told = self._facts(facts), report_facts.counts(facts.account, 0, 0, [])
        return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()

    @staticmethod
    def _facts(facts: RunFacts) -> dict[str, Any]:
        """What the page tells of the run, by the names that it has there."""
        return {
            "what_ran": report_facts.what_ran(facts.account),
            "failures": report_facts.failures(facts.failures()),
            "not_counted": report_facts.not_counted(facts.account),
            "ranks": report_facts.ranks(facts.account),
        }

    def _page(self, figures: Figures, galleries: list[Gallery], keypoint_set: KeypointSet, limit: float) -> str:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        style, script = ((_ASSETS / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
        facts = self._facts(self.facts)
        return environment.get_template("report.html").render(
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            **facts,
            counts=report_facts.counts(self.facts.account, figures.num_pictures, figures.num_people, facts["failures"]),
            rank_columns=report_facts.RANK_COLUMNS,
            score_figures=figures.of_scores(),
            figures=figures.of_pictures(),
            keypoint_set=keypoint_set,
            galleries=galleries,
            legend=suspicions.legend(limit),
            data=self._data(galleries, keypoint_set, limit),
        )

    def _data(self, galleries: list[Gallery], keypoint_set: KeypointSet, limit: float) -> dict[str, Any]:
        """What the page's script shows."""
        picks = {pick.key: pick for gallery in galleries for pick in gallery.picks}
        pictures = Pictures(self.photograph, len(picks))
        numbers: dict[tuple[str, int], int] = {}
        entries: list[dict[str, Any]] = []
        for key in sorted(picks):  # pictures, and frames of videos, in their order
            self._unless_stopped()
            numbers[key] = len(entries)
            entries.append(self._entry(picks[key], pictures, keypoint_set, limit))
        return {
            "threshold": self._threshold,
            "names": keypoint_set.names,
            "skeleton": keypoint_set.skeleton,
            "entries": entries,
            "galleries": {gallery.name: [numbers[pick.key] for pick in gallery.picks] for gallery in galleries},
        }

    def _entry(self, pick: Pick, pictures: Pictures, keypoint_set: KeypointSet, limit: float) -> dict[str, Any]:
        result, view = pick.result, view_of(pick)
        image, why = pictures.small(result, view)
        excesses = pick.excesses.copy()
        if pick.row is not None:
            excesses[REASONS.index(LOW_SCORE)] = low_excesses(np.array([pick.score]), limit)[0]
        entry: dict[str, Any] = {
            "name": shortened(as_unicode(result.name), _NAME_LENGTH),
            "who": _who(pick),
            "one": pick.row is not None,
            "score": round(pick.score, 4),
            "suspicion": round(float(severities(excesses).sum()), 3),
            "reasons": [reason for reason, excess in zip(REASONS, excesses) if excess >= 1],
            "details": pick.details,
            "size": result.image_wh,
            "view": view,
            "people": people_of(pick, view, keypoint_set),
        }
        return entry | ({"image": image} if image else {"why": as_unicode(why or "")})

    def _unless_stopped(self) -> None:
        if self.facts.stopped():
            raise MakingStopped


def _who(pick: Pick) -> str:
    if pick.row is None:
        return "whole picture"
    result, said = pick.result, f"instance {pick.result.instance_ids[pick.row]}"
    if result.frame is not None:
        said += f", {result.frame.seconds:.2f} s"
        if result.track_ids is not None and result.track_ids[pick.row] != NO_TRACK_ID:
            said += f", track {result.track_ids[pick.row]}"
    return said


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
