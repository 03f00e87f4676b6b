"""The README fits on a screen or two, leads nowhere that is not there, and its commands do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest

import sapiens_pl

ROOT = Path(__file__).parents[1]
ASSETS = Path(sapiens_pl.__file__).parent / "demo" / "assets"
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if re.search(r"sapiens_pl\.predict .*data\.", line)
]


def test_it_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", [*sorted(p.name for p in ROOT.glob("*.md")), *PAGES])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target, _, place in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if place:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert place in slugs, f"{page} links to {target}#{place}"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder with all that the README's commands name."""
    folder = tmp_path_factory.mktemp("stranger")
    for name in ("photos", "sample"):
        shutil.copytree(ASSETS / "images", folder / name)
    shutil.copytree(ASSETS / "film", folder / "clips")
    (folder / "shards").mkdir()
    for number in range(100):
        with tarfile.open(folder / "shards" / f"{number:05d}.tar", "w") as tar:
            if number == 0:
                (folder / "0.json").write_text('{"bboxes": [[10, 10, 90, 190]]}')
                picture = next(path for path in sorted((ASSETS / "images").rglob("*")) if path.is_file())
                tar.add(picture, f"0{picture.suffix}")
                tar.add(folder / "0.json", "0.json")
    return folder


def test_there_are_commands():
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_each_command_would_run(stranger, command, tmp_path, forked):
    words = shlex.split(command, comments=True)
    own = [word for word in words if "=" in word and not word.startswith(("output.dir", "data.batch_size=1,"))]
    own += ["dry_run=true", "trainer.accelerator=cpu", f"output.dir={tmp_path / 'run'}"]
    ended = forked("predict", *own, working=stranger)
    assert ended.code == 0 and "to do" in ended.out, ended.out + ended.err
