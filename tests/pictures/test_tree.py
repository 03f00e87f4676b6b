"""The search below a folder: real trees with links, runs, hidden files and folders that cannot be listed."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.demo import IMAGES
from sapiens_pl.pictures.folder import list_images
from sapiens_pl.pictures.tree import find_pictures

NOBODY = 65534


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def nest(root: Path, depth: int, name: str, file: str) -> None:
    """Folders in each other, made from inside: their path may be too long to be given."""
    handle = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=handle)
        handle, above = os.open(name, os.O_RDONLY, dir_fd=handle), handle
        os.close(above)
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def remove_nest(root: Path) -> None:
    """A path over 4096 characters, and 1,100 folders in each other, are too much for some of Python's own ways."""
    subprocess.run(["rm", "-rf", str(root)], check=True)


@contextmanager
def without_rights():
    """Root may read everything; so as somebody else."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("way", ["", "/**/*.jpg", "/*/*.jpg"])
def test_a_folder_without_permission_is_a_failure_and_the_others_go_on(way):
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        fill(root, "a/1.jpg", "b/2.jpg", "c/3.jpg")
        (root / "b").chmod(0)
        with without_rights():
            source = list_images(f"{root}{way}")
            with pytest.raises(ConfigError, match=r"b cannot be listed \(Permission denied\)"):
                list_images(root / "b")
        assert list(source.names) == ["a/1.jpg", "c/3.jpg"]
        (failure,) = source.failures
        assert (failure.image, failure.instance_id, failure.error) == ("b", None, "UnreadableFolderError")
        assert f"{root}/b cannot be listed (Permission denied)" in failure.message
        assert "cannot be listed (Permission denied)" in source.why_left_out("b/2.jpg")
        assert source.why_left_out("d/2.jpg") is None
    finally:
        (root / "b").chmod(0o755)
        shutil.rmtree(root)


def test_a_path_of_over_4096_characters_is_a_failure(tmp_path):
    fill(tmp_path, "a.jpg", "z/b.jpg")
    nest(tmp_path, 30, "n" * 200, "lost.jpg")
    try:
        source = list_images(tmp_path)
        assert list(source.names) == ["a.jpg", "z/b.jpg"]
        (failure,) = source.failures
        assert failure.image.count("n" * 200) > 15 and "cannot be listed (File name too long)" in failure.message
        assert len(failure.message) < 500
    finally:
        remove_nest(tmp_path / ("n" * 200))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["", "/**/*.jpg"])
def test_1100_folders_in_each_other(tmp_path, way):
    fill(tmp_path, "a.jpg", "z/b.jpg")
    nest(tmp_path, 1100, "d", "deep.jpg")
    try:
        source = list_images(f"{tmp_path}{way}")
        assert list(source.names) == ["a.jpg", "d/" * 1100 + "deep.jpg", "z/b.jpg"]
        assert not source.failures
    finally:
        remove_nest(tmp_path / "d")


def test_links_in_circles_and_to_nowhere_are_told(tmp_path):
    fill(tmp_path, "a.jpg")
    for name, target in (("loop", "loop"), ("gone", "nowhere"), ("2024.01", "nowhere"), ("list.txt", "nowhere")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    source = list_images(tmp_path)
    assert list(source.names) == ["a.jpg", "gone.jpg"]  # reading the second will tell
    assert {failure.image for failure in source.failures} == {"loop", "gone", "2024.01"}
    assert any("Too many levels" in failure.message for failure in source.failures)


def test_folders_come_before_links_so_that_a_link_moved_on_changes_no_name(tmp_path):
    fill(tmp_path, "one/1.jpg", "two/2.jpg")
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "0.jpg").symlink_to("one/1.jpg")
    first = list_images(tmp_path)
    assert list(first.names) == ["one/1.jpg", "two/2.jpg"]
    assert first.left_out.links == {"current": "one", "0.jpg": "one/1.jpg"}
    assert any("current (to one), 0.jpg (to one/1.jpg)" in sentence for sentence in first.left_out.sentences())
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("two")
    assert list_images(tmp_path).names == first.names


def test_links_out_of_the_tree_are_followed_once_without_circles(tmp_path):
    fill(tmp_path, "store/x/1.jpg", "store/y/2.jpg", "in/own.jpg")
    for name, target in (("a", "../store/x"), ("b", "../store"), ("c", "../store"), ("up", "..")):
        (tmp_path / "in" / name).symlink_to(target)
    (tmp_path / "store" / "back").symlink_to("../in")
    source = list_images(tmp_path / "in")
    assert list(source.names) == ["own.jpg", "a/1.jpg", "b/y/2.jpg"]
    assert source.left_out.links == {"c": "b", "b/back": "."}


def test_links_to_hidden_or_suffixless_files_inside_are_the_pictures_names(tmp_path):
    """As git-annex, DataLad and the hub's cache keep them."""
    fill(tmp_path, ".git/annex/objects/1.jpg", "blobs/abc")
    (tmp_path / "1.jpg").symlink_to(".git/annex/objects/1.jpg")
    (tmp_path / "2.jpg").symlink_to("blobs/abc")
    (tmp_path / "annex").symlink_to(".git/annex")
    assert list(list_images(tmp_path).names) == ["1.jpg", "2.jpg", "annex/objects/1.jpg"]


def test_hidden_files_and_folders_are_no_pictures_in_globs_either(tmp_path):
    fill(tmp_path, "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "sub/.x/b.jpg", "sub/b.jpg")
    for way in ("", "/**", "/**/*", "/**/*.jpg"):
        assert list(list_images(f"{tmp_path}{way}").names) == ["a.jpg", "sub/b.jpg"], way
    assert "hidden" in list_images(tmp_path).why_left_out("sub/.x/b.jpg")
    with pytest.raises(ConfigError, match="holds no images"):
        list_images(f"{tmp_path}/.*")
    fill(tmp_path, "list.txt").joinpath("list.txt").write_text("._a.jpg\n")  # a list means what it names
    assert list(list_images(tmp_path / "list.txt").names) == ["._a.jpg"]


RUN = ["run.json", "predictions/a.jpg.json", "overlays/a.jpg.jpg", "openpose/a.jpg.png", ".hydra/config.yaml"]


@pytest.mark.parametrize(
    "run", [RUN, RUN[1:], ["run.json", RUN[2]], ["inputs.txt", RUN[3]], ["run.json", "records/x.png"]]
)
@pytest.mark.parametrize("where", ["out", "sub/outputs/2024-01-01/12-00-00"])
def test_folders_of_runs_are_not_searched(tmp_path, run, where):
    fill(tmp_path, "a.jpg", "z/overlays/b.jpg")  # a folder that only has such a name is searched
    fill(tmp_path / where, *run)
    for way in ("", "/**", "/**/*.*"):
        source = list_images(f"{tmp_path}{way}")
        assert list(source.names) == ["a.jpg", "z/overlays/b.jpg"], way
        assert list(source.left_out.run_folders) == [where]
    (sentence,) = source.left_out.sentences()
    assert where in sentence
    assert "folder of a run" in source.why_left_out(f"{where}/overlays/a.jpg.jpg")
    assert source.left_out.account()["run_folders"] == [where]


def test_a_sweeps_picture_is_none_of_ours(tmp_path):
    fill(tmp_path, "a.jpg", "sweep/sweep.csv", "sweep/sweep.png", "sweep/multirun.yaml", "x/sweep.png")
    fill(tmp_path / "sweep" / "0", *RUN)
    assert list(list_images(tmp_path).names) == ["a.jpg", "x/sweep.png"]


@pytest.mark.parametrize("below", ["", "cam"])
def test_photographs_beside_a_runs_files_are_pictures(tmp_path, below):
    fill(tmp_path, "first.jpg")
    fill(tmp_path / below, "photo.jpg", "more/photo.jpg", *RUN)
    names = {os.path.join(below, name) for name in ("photo.jpg", "more/photo.jpg")}
    assert set(list_images(tmp_path).names) == names | {"first.jpg"}


def test_a_runs_own_folder_as_images_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match="Folders of runs are not searched for pictures: openpose, overlays"):
        list_images(fill(tmp_path, *RUN))
    assert list(list_images(tmp_path / "overlays").names) == ["a.jpg.jpg"]  # named as such


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("*.jpg", ["1.jpg"]),
        ("*/*.jpg", ["a/2.jpg", "b/3.jpg"]),
        ("[!b]/*", ["a/2.jpg"]),
        ("**/x/*.jpg", ["a/x/4.jpg", "a/x/x/5.jpg"]),
        ("a/**/*.jpg", ["a/2.jpg", "a/x/4.jpg", "a/x/x/5.jpg"]),
        ("**/a/**/x/**/*.jpg", ["a/x/4.jpg", "a/x/x/5.jpg"]),
        ("**", ["1.jpg", "a/2.jpg", "a/x/4.jpg", "a/x/x/5.jpg", "b/3.jpg"]),
        ("?/?.jpg", ["a/2.jpg", "b/3.jpg"]),
        ("**/a*", []),
    ],
)
def test_globs_mean_what_pythons_mean(tmp_path, pattern, expected):
    fill(tmp_path, "1.jpg", "a/2.jpg", "b/3.jpg", "a/x/4.jpg", "a/x/x/5.jpg")
    assert list(find_pictures(str(tmp_path), pattern.split("/")).names) == expected
    found = glob.glob(pattern, root_dir=tmp_path, recursive=True)
    assert sorted({path for path in found if (tmp_path / path).is_file()}) == sorted(expected)


def test_a_second_run_poses_the_same_pictures_and_folders_that_cannot_be_listed_stay_failures(predict, mini, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(IMAGES, photos / "own")
    (photos / "own" / "IMG_1.CR2").write_bytes(b"\0\0\0\x18ftypheic")
    (photos / "aaa").symlink_to("own")
    (photos / "gone").symlink_to("nowhere")
    for name in ("s1", "s2"):
        shutil.copytree(IMAGES / "wide", tmp_path / name)
    (photos / "cam").symlink_to("../s1")
    settings = [f"data.images={photos}", "boxes=whole_image", *mini, "data.num_workers=0"]
    first = predict(*settings, "output.overlay=true", "output.formats=[json,openpose]", folder="photos/out")
    assert first.code == 0 and len(first.results) == 8, first.err
    assert [failure["image"] for failure in first.failures] == ["gone"]
    assert first.info["counts"]["images_failed"] == 1 and first.info["counts"]["images_planned"] == 9
    assert first.info["left_out"]["files"] == {"CR2": 1} and first.info["left_out"]["links"] == 1
    assert "own/IMG_1.CR2 is CR2" in first.out and "gone cannot be listed" in first.out
    (photos / "gone").unlink()
    boxes = tmp_path / "boxes.json"
    named = ["own/one.jpg", "own/IMG_1.CR2", "out/overlays/own/one.jpg.jpg"]
    boxes.write_text(json.dumps({name: [[1, 2, 90, 90]] for name in named}))
    again = predict(*settings, folder="photos/out")
    assert again.code == 0 and again.results.keys() == first.results.keys() and not again.failures, again.out
    assert again.info["left_out"]["run_folders"] == ["out"] and "Folders of runs are not searched" in again.out
    boxed = predict(*settings, "boxes=json", f"boxes.file={boxes}", folder="photos/out2")
    reasons = {failure["image"]: failure["message"] for failure in boxed.failures}
    assert "is CR2" in reasons["own/IMG_1.CR2"] and "folder of a run" in reasons["out/overlays/own/one.jpg.jpg"]
    assert boxed.code == 0 and len(boxed.results) == 8, boxed.err
    (photos / "cam").unlink()
    (photos / "cam").symlink_to("../s2")
    moved = predict(*settings, folder="photos/out")
    assert moved.code == 2 and "the link cam led to ../s1 when" in moved.err, moved.err
