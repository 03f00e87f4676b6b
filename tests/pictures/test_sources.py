"""A source of pictures that are no files: one class, named in a setting or in one more file of conf/sources."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError, DamagedImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures import sources
from sapiens_pl.pictures.folder import ImageFiles
from sapiens_pl.pictures.sources import open_source

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
            raise ConfigError(f"data.images={images} is no strip.")
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
    with pytest.raises(ConfigError, match="no strip"):
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
