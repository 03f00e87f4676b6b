"""Contact sheets: which pictures are on them, and what stands where one cannot be read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sapiens_pl.core.errors import ConfigError, UnreadableImageError
from sapiens_pl.core.protocols import MakingStopped
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.run_files import RunFiles
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.products.sheet import ContactSheet, evenly
from tests.products.made import InMemory, make_products, run_folder
from tests.records.made_up import pose_result

GREY = np.full((480, 640, 3), 120, np.uint8)
EMPTY = (232, 232, 232)


def sheets(folder):
    return {path.name: cv2.imread(str(path)) for path in sorted((folder / "sheets").iterdir())}


def made(folder, results, photograph=lambda result: GREY, **settings):
    folder.mkdir()
    sheet = ContactSheet(**{"score_threshold": 0.3} | settings)
    sheet.photograph = photograph
    sheet.write(InMemory(results), folder)
    return sheets(folder)


def num_pictures(sheet):
    """How many of the places in rows of eight are filled."""
    places = [(44 + row * 292, 12 + column * 332) for row in range(6) for column in range(8)]
    corners = [sheet[top + 2, left + 2] for top, left in places if top < sheet.shape[0] and left + 2 < sheet.shape[1]]
    return sum(int(np.abs(corner.astype(int) - 250).max() > 8) for corner in corners)


@pytest.mark.slow
def test_pages_of_forty_eight(tmp_path):
    results = [pose_result(f"{number:03}.jpg", number % 3) for number in range(100)]
    pages = made(tmp_path / "all", results)
    assert list(pages) == ["sheet-001.jpg", "sheet-002.jpg", "sheet-003.jpg"]
    assert list(map(num_pictures, pages.values())) == [48, 48, 4]
    assert list(map(num_pictures, made(tmp_path / "some", results, pictures=50).values())) == [48, 2]
    (few,) = made(tmp_path / "few", results[:3]).values()
    assert num_pictures(few) == 3 and few.shape[1] < 1100
    (narrow,) = made(tmp_path / "narrow", results, pictures=9, columns=2).values()
    assert narrow.shape[0] > narrow.shape[1]
    again = made(tmp_path / "again", results)
    assert all((pages[name] == again[name]).all() for name in pages)


def test_pictures_are_evenly_chosen_in_one_pass():
    for total, most in ((1000, 10), (1001, 7), (10, 10), (11, 10), (5, 10), (0, 3)):
        results = [pose_result(f"{number:04}.jpg", 0) for number in range(total)]
        chosen, counted = evenly(iter(results), most)
        places = [int(result.name[:4]) for result in chosen]
        assert counted == total and len(places) == min(most, total) and places == sorted(set(places))
        if total > 10 * most:
            steps = np.diff([-1, *places, total])
            assert steps.max() < 2.5 * total / most
    assert len(evenly(iter(results + [pose_result("a", 0)] * 9), None)[0]) == 9


def test_a_picture_that_cannot_be_read_has_a_sentence_in_its_place(tmp_path):
    def photograph(result):
        if result.name == "b.jpg":
            raise UnreadableImageError(
                "/a/long/way/b.jpg is not there any more; put it back, so that it can be read again."
            )
        return GREY

    (page,) = made(tmp_path / "run", [pose_result(name, 0) for name in ("a.jpg", "b.jpg")], photograph).values()
    cell = page[44 : 44 + 240, 12 + 332 : 12 + 332 + 320]
    assert np.median(np.abs(cell.astype(int) - EMPTY)) < 3 and (cell < 150).any(), "words on the empty place"

    def stopped(result):
        raise ReadingStopped

    with pytest.raises(ReadingStopped):
        made(tmp_path / "stopped", [pose_result("a.jpg")], stopped)


def test_an_empty_run_and_odd_names_have_a_sheet_too(tmp_path):
    results = [pose_result("a.jpg", 0)]

    class Nothing(InMemory):
        def results(self, names=None):
            return iter(())

    sheet = ContactSheet(0.3)
    sheet.write(Nothing(results), tmp_path)
    assert list(sheets(tmp_path)) == ["sheet-001.jpg"]
    odd = [b"\xff".decode("utf-8", "surrogateescape"), "\u4eba.jpg", "a" * 500, "line\nbreak.jpg", "e\u0301.jpg"]
    assert made(tmp_path / "odd", [pose_result(name) for name in odd])
    sizes = [np.zeros((1, 4000, 3), np.uint8), np.zeros((4000, 1, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)]
    shapes = [pose_result(f"{n}.jpg", 1, image_wh=image.shape[1::-1]) for n, image in enumerate(sizes)]
    assert made(tmp_path / "sizes", shapes, lambda result: sizes[int(result.name[0])])


@pytest.mark.slow
def test_it_is_made_of_a_run_and_again_with_other_settings(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), GREY)
    results = [pose_result(f"{number}.png", 1, path=str(tmp_path / "a.png")) for number in range(60)]
    run = make_products(tmp_path / "run", results, "sheet")
    assert [num_pictures(page) for page in sheets(run).values()] == [48, 12]
    again = make_products(tmp_path / "again", results, "sheet", "output.sheet_pictures=5")
    assert [num_pictures(page) for page in sheets(again).values()] == [5]


@pytest.mark.parametrize("settings", [{"pictures": 0}, {"columns": 0}, {"parts": ["head"]}, {"score_threshold": None}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match=r"output\.\w+=\S+ must be"):
        ContactSheet(**{"score_threshold": 0.3} | settings)


def test_a_run_that_is_to_stop_leaves_the_sheet_for_the_next_time(tmp_path):
    def stopped(result):
        raise ReadingStopped

    folder = run_folder(tmp_path)
    files = RunFiles(folder, ChosenProduct("sheet", ContactSheet(0.3), {}))
    with pytest.raises(MakingStopped):
        files.make(InMemory([pose_result("a.jpg")]), "state", stopped)
    assert files.missing("state") and not (tmp_path / "sheets").exists()
    assert files.make(InMemory([pose_result("a.jpg")]), "state", lambda result: GREY) is None
    assert not files.missing("state")
    folder.close()
