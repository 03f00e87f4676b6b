"""A source of pictures that are no files: one class, named in a setting or in one more file of conf/sources."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError, DamagedImageError, ReadTimeoutError, UnreadableImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures import sources
from sapiens_pl.pictures.folder import ImageFiles
from sapiens_pl.pictures.sources import open_source
from sapiens_pl.products.second_read import PictureReader

STRIP = '''
import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError, DamagedImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.structures import LoadedImage


class Strip:
    """Pictures that lie one behind the other in a file of numpy's."""

    def __init__(self, images, max_megapixels, damaged=2):
        if not images.endswith(".npy"):
            raise ConfigError(f"data.images={images} is not a strip.")
        self.images, self.damaged = images, damaged

    def pictures(self):
        count = len(np.load(self.images, mmap_mode="r"))
        names = Names.of(f"{index:03d}.png" for index in range(count))
        return Pictures(self.images, names, stretches=np.arange(0, count + 1, 2))

    def read(self, index):
        if index == self.damaged:
            raise DamagedImageError(f"{self.images}, picture {index} is damaged; replace it.")
        return LoadedImage(np.load(self.images, mmap_mode="r")[index].copy(), 1)
'''


@pytest.fixture
def strip(tmp_path, monkeypatch):
    """A file with six pictures, and the module that reads such files."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "strip_source.py").write_text(STRIP)
    monkeypatch.syspath_prepend(tmp_path / "code")
    np.save(tmp_path / "strip.npy", np.random.default_rng(0).integers(0, 256, (6, 60, 80, 3), np.uint8))
    yield tmp_path / "strip.npy"
    sys.modules.pop("strip_source", None)


def test_a_run_reads_pictures_from_a_source_of_ones_own(predict, mini, strip, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({f"{index:03d}.png": [[5, 5, 50 + index, 55]] for index in range(5)}))
    run = predict(
        *mini, f"data.images={strip}", "data.source=strip_source.Strip", "boxes=json", f"boxes.file={boxes}",
        "data.num_workers=2", inject=f"import sys; sys.path.insert(0, {str(strip.parent / 'code')!r})",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert list(run.results) == [f"{index:03d}.png" for index in (0, 1, 3, 4, 5)]
    assert [len(result["instance_info"]) for result in run.results.values()] == [1, 1, 1, 1, 0]
    assert [(row["image"], row["error"]) for row in run.failures] == [("002.png", "DamagedImageError")]


def test_a_file_in_conf_sources_is_all_that_a_new_source_needs(strip, tmp_path, monkeypatch):
    folder = tmp_path / "conf" / "sources"
    folder.mkdir(parents=True)
    given = Path(sources.config_folder(), "sources", "files.yaml").read_text()
    (folder / "files.yaml").write_text(given)
    (folder / "strip.yaml").write_text('_target_: strip_source.Strip\ntakes: ["*.npy"]\ndamaged: 5\n')
    monkeypatch.setattr(sources, "config_folder", lambda: str(tmp_path / "conf"))
    source = open_source(str(strip))
    assert isinstance(source, PictureSource) and len(source.pictures().names) == 6
    with pytest.raises(DamagedImageError):
        source.read(5)
    assert open_source(str(tmp_path / "STRIP.NPY".lower()), source="strip").damaged == 5
    assert isinstance(open_source(str(tmp_path)), ImageFiles)
    with pytest.raises(ConfigError, match="not a strip"):
        open_source("a.tar", source="strip")
    with pytest.raises(ConfigError, match=r"data.source=tape is not known; choose one of files, strip\."):
        open_source(str(strip), source="tape")


@pytest.mark.parametrize("name", ["no_such_module.Strip", "json.no_such_class", "os.path"])
def test_a_class_that_cannot_be_loaded_is_named(name):
    with pytest.raises(ConfigError, match=f"data.source={name}"):
        open_source("x", source=name)


def test_what_a_source_is_can_be_told():
    class Nothing:
        def pictures(self) -> Pictures:
            return Pictures("", Names.of([]))

        def read(self, index: int) -> LoadedImage:
            raise AssertionError(index)

    assert isinstance(Nothing(), PictureSource) and not isinstance(object(), PictureSource)


ARCHIVE = """
import time
import zipfile

import cv2
import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import DamagedImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.structures import LoadedImage


class Archive:
    # Members of a zip file; it has much to say, where none listens.

    def __init__(self, images, max_megapixels):
        print("opening", images)
        self.images = images

    def pictures(self):
        if "slow" in self.images:
            time.sleep(1000)
        return Pictures(self.images, Names.of(zipfile.ZipFile(self.images).namelist()))

    def read(self, index):
        return member(self.pictures().path(index))


class Member(Archive):
    # The same, which needs no list.

    @staticmethod
    def read_path(path, max_megapixels):
        return member(path)


class Grey(Archive):
    def read(self, index):
        return LoadedImage(super().read(index).pixels[..., 0], 1)


def member(path):
    archive, _, name = path.partition(".zip/")
    print("reading", name)
    pixels = cv2.imdecode(np.frombuffer(zipfile.ZipFile(archive + ".zip").read(name), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DamagedImageError(f"{path} is damaged; pack it again.")
    return LoadedImage(pixels, 1)
"""
PACKAGE = Path(sources.__file__).parents[2]
NAMES = ("a.png", "b/ü.png", "c.png", "d.png", "e.png")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Five pictures as files in `files` and as members of a zip file, and the module that reads such files."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "archive_source.py").write_text(ARCHIVE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    (tmp_path / "files" / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    content = {name: cv2.imencode(".png", rng.integers(0, 256, (60, 80, 3), np.uint8))[1].tobytes() for name in NAMES}
    for name, data in content.items():
        (tmp_path / "files" / name).write_bytes(data)
    pack(tmp_path / "pictures.zip", content)
    return tmp_path / "pictures.zip"


def pack(path, content):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)


def overlays(folder):
    top = folder / "overlays"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*.jpg")}


@pytest.fixture
def make(forked, tmp_path):
    """The command on another day and from another folder, where a module's folder is on the path."""

    def make(folder, code, *settings):
        inject = (
            f"import sys; sys.path = [{str(code)!r}, *(path for path in sys.path if {str(tmp_path)!r} not in path)]"
        )
        return forked("make", folder, "formats=[overlay]", *settings, working="/", inject=inject)

    return make


def test_overlays_are_drawn_on_pictures_that_are_no_files_during_the_run_and_later(predict, make, mini, archive):
    files, code = archive.parent / "files", archive.parent / "code"
    asked = [*mini, "boxes=whole_image", "data.num_workers=1", "output.overlay=true"]
    of_files = predict(*asked, f"data.images={files}", folder="of_files")
    inject = f"import sys; sys.path.insert(0, {str(code)!r})"
    source = "data.source=archive_source.Archive"
    run = predict(*asked, f"data.images={archive}", source, inject=inject)
    assert run.code == of_files.code == 0 and not run.failures, run.err
    expected = overlays(of_files.folder)
    assert len(expected) == 5 and overlays(run.folder) == expected

    for name in expected:
        (run.folder / "overlays" / name).unlink()
    content = {name: (files / name).read_bytes() for name in NAMES}
    content["c.png"] = b"no picture"
    content["d.png"] = cv2.imencode(".png", np.zeros((80, 60, 3), np.uint8))[1].tobytes()
    del content["e.png"]
    pack(archive, content)
    made = make(run.folder, code)
    assert made.code == 0 and "2 made, 3 could not be made" in made.out, made.out + made.err
    assert overlays(run.folder) == {name: expected[name] for name in ("a.png.jpg", "b/ü.png.jpg")}
    said = {row["image"]: row["message"] for row in run.failures}
    assert set(said) == {"c.png", "d.png", "e.png"}
    assert "c.png is damaged; pack it again" in said["c.png"] and "another picture now, of 60x80 px" in said["d.png"]
    assert f"{archive}/e.png is not among the pictures of data.images={archive}" in said["e.png"]

    pack(archive, {name: (files / name).read_bytes() for name in NAMES})
    without = make(run.folder, archive.parent)  # where the class is not
    assert without.code == 1 and f"{source} is not a class that can be loaded" in without.out, without.err
    assert make(run.folder, code).code == 0 and overlays(run.folder) == expected and not run.failures
    assert make(of_files.folder, archive.parent, "overlay_score_threshold=0.9").code == 0  # of files as before


@pytest.mark.slow
def test_a_picture_is_read_again_only_from_where_it_was_and_in_time(archive):
    path = f"{archive}/a.png"
    reader = PictureReader(60, 178, lambda: False, str(archive), "archive_source.Archive")
    assert reader.read(path, "a.png").shape == (60, 80, 3)
    with pytest.raises(UnreadableImageError, match=r"other.zip/a.png is not among the pictures of data.images="):
        reader.read(str(archive.with_name("other.zip")) + "/a.png", "a.png")
    reader.close()
    reader = PictureReader(60, 178, lambda: False, "what is not listed", "archive_source.Member")
    assert reader.read(path).shape == (60, 80, 3)
    reader.close()
    for source, words in (
        ("archive_source.Grey", "not uint8 of"),
        ("archive_source.Gone", "not a class that can be loaded"),
        ("tape", "data.source=tape is not known"),
    ):
        reader = PictureReader(60, 178, lambda: False, str(archive), source)
        with pytest.raises(UnreadableImageError, match=words):
            reader.read(path, "a.png")
        reader.close()
    slow = PictureReader(2, 178, lambda: False, str(archive.with_name("slow.zip")), "archive_source.Archive")
    with pytest.raises(ReadTimeoutError, match=r"within 2 s \(data.read_timeout\)"):
        slow.read(path, "a.png")
    slow.close()
