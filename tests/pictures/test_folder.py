from __future__ import annotations

import os

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.pictures.folder import list_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.JPEG", "sub/deep/d.webp", "notes.txt", ".hidden.jpg", "sub/._e.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def names(source):
    return list(source.names)


def test_a_folder_is_searched_to_the_bottom(folder):
    source = list_images(folder)
    assert names(source) == ["a.jpg", "b.png", "sub/c.JPEG", "sub/deep/d.webp"]
    assert all(os.path.isfile(path) and os.path.isabs(path) for path in map(source.path, range(len(source.names))))
    assert source.complete


def test_a_link_back_up_does_not_go_round(folder):
    (folder / "sub" / "loop").symlink_to(folder)
    assert len(list_images(folder).names) == 4


def test_a_glob_names_below_its_fixed_part(folder):
    assert names(list_images(f"{folder}/*.*")) == ["a.jpg", "b.png"]
    assert names(list_images(f"{folder}/**/*.JPEG")) == ["sub/c.JPEG"]


def test_one_file_is_a_run_of_one(folder):
    assert names(list_images(folder / "sub" / "c.JPEG")) == ["c.JPEG"]


def test_a_list_keeps_its_order_and_its_missing_files_and_stays_inside(folder, tmp_path, monkeypatch):
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (tmp_path / "here.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    lines = ["sub/c.JPEG", "", "a.jpg", "../outside.jpg", "missing.jpg", "a.jpg", "./a.jpg", "here.jpg", "sub/../b.png"]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    source = list_images(folder / "list.txt")
    outside = f"_outside/{str(tmp_path).lstrip('/')}"
    assert names(source) == [
        "sub/c.JPEG",
        "a.jpg",
        f"{outside}/outside.jpg",
        "missing.jpg",
        f"{outside}/here.jpg",
        "b.png",
    ]
    assert not any(".." in name for name in names(source))


def test_a_lists_lines_may_have_blanks_and_quotes_around_them_and_backslashes(folder):
    (folder / " blank.jpg ").write_bytes(b"x")
    lines = ["  a.jpg  ", '"b.png"', "sub\\c.JPEG", " blank.jpg ", " missing.jpg", '"']
    (folder / "list.txt").write_text("\r\n".join(lines))
    assert names(list_images(folder / "list.txt")) == [
        "a.jpg",
        "b.png",
        "sub/c.JPEG",
        " blank.jpg ",
        " missing.jpg",
        '"',
    ]


@pytest.mark.parametrize("images", ["nowhere", "nowhere/*.jpg", "nothing"])
def test_nothing_there_is_one_sentence(tmp_path, images):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match=rf"data\.images=.*{images[:7]}"):
        list_images(tmp_path / images)
