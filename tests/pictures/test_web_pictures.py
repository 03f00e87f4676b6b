"""Pictures of web servers that lead astray, never answer or break off, of `file://` and of `memory://`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from web import Web, web_server

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, RemoteError
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.data.worker_watch import SHARE_FOR_STORES, WorkerWatch
from sapiens_pl.pictures import looks
from sapiens_pl.pictures.sources import open_again, open_source

NEVER = r"cannot be read \(no whole answer within the time limit, tried several times\); run the same command again"
CUT_OFF = r"cannot be read \(the answer was cut off, tried several times\); run the same command again"
IN_CIRCLES = r"cannot be read \(one redirect after the other\); correct it or remove it from the list\."


def png(shade: int) -> bytes:
    return cv2.imencode(".png", np.full((40, 40, 3), shade, np.uint8))[1].tobytes()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("SAPIENS_REMOTE_SECONDS", "0.5")
    monkeypatch.setenv("SAPIENS_REMOTE_TRIES", "3")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    looks.forget()
    with web_server() as web:
        yield web
    remote.give_up_within(float("inf"))


def shades(source) -> list[int]:
    return [int(source.read(index).pixels[0, 0, 0]) for index in range(len(source.pictures().names))]


@pytest.mark.slow
def test_of_a_list_each_that_cannot_be_had_costs_only_itself(web, tmp_path):
    names = ["a.png", "loop.png", "silent.png", "half.png", "stalls.png", "none.png", "z.png"]
    web.files = {f"/{name}": png(number) for number, name in enumerate(names) if name != "none.png"}
    (tmp_path / "list.txt").write_text("".join(f"{web.url}/{name}\n" for name in names))
    source, said = open_source(str(tmp_path / "list.txt")), {}
    source.ahead(range(len(names)))
    for index, name in enumerate(names):
        try:
            said[name] = int(source.read(index).pixels[0, 0, 0])
        except RemoteError as error:
            said[name] = str(error).removeprefix(f"{web.url}/{name} ").split("; run")[0]
    assert said == {
        "a.png": 0,
        "loop.png": "cannot be read (one redirect after the other); correct it or remove it from the list.",
        "silent.png": "cannot be read (no whole answer within the time limit, tried several times)",
        "half.png": "cannot be read (the answer was cut off, tried several times)",
        "stalls.png": "cannot be read (no whole answer within the time limit, tried several times)",
        "none.png": "is not there; correct the name.",
        "z.png": 6,
    }
    assert web.asked.count("GET /half.png") == 3 and web.asked.count("GET /silent.png") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "said"), [("loop", IN_CIRCLES), ("silent", NEVER), ("half", CUT_OFF)])
def test_what_stands_alone_and_cannot_be_had_is_said_before_the_run(web, name, said):
    web.files[f"/{name}.pth"] = b"weights"
    with pytest.raises(ConfigError, match=said):
        local_copy(f"{web.url}/{name}.pth")


def test_a_line_that_recovers_is_noticed(web):
    web.files["/half.png"] = png(7)
    web.fine_after, before = 2, remote.retries()
    assert shades(open_source(f"{web.url}/half.png")) == [7]
    assert remote.retries() > before


@pytest.mark.parametrize("ranges", [True, False])
def test_a_large_file_comes_in_pieces_where_the_server_knows_them(web, tmp_path, ranges):
    web.files["/big.tar"], web.ranges = os.urandom(20 << 20), ranges
    remote.fetch(f"{web.url}/big.tar", tmp_path / "big.tar")
    assert (tmp_path / "big.tar").read_bytes() == web.files["/big.tar"]
    assert web.asked.count("GET /big.tar") == (1 + 3 if ranges else 1 + 1)  # one asks whether it knows them


@pytest.mark.slow
def test_half_of_a_large_file_is_not_taken_for_the_whole(web, tmp_path):
    web.files["/half.tar"] = os.urandom(9 << 20)
    with pytest.raises(RemoteError, match=CUT_OFF):
        remote.fetch(f"{web.url}/half.tar", tmp_path / "half.tar")


def test_a_folder_of_a_server_that_shows_its_links(web):
    web.files = {"/d/a.png": png(1), "/d/b c/x.png": png(2), "/other.png": png(3)}
    source = open_source(f"{web.url}/d/")
    assert list(source.pictures().names) == ["a.png", "b c/x.png"] and shades(source) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["half", "stalls"])
def test_a_folder_of_which_a_part_cannot_be_listed_is_not_taken_for_the_whole(web, part):
    web.files = {"/d/a.png": png(1), f"/d/{part}/x.png": png(2)}
    with pytest.raises(ConfigError, match=f"/d/{part}/ cannot be listed .(the|no whole) answer"):
        open_source(f"{web.url}/d/")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("hidden/", "holds no pictures; correct it. A web server need not show what a folder holds; a list file of"),
        ("silent/", "listed .no whole answer within the time limit"),
        ("loop/", "listed .one redirect after the other"),
    ],
)
def test_a_folder_that_a_server_does_not_show_is_refused(web, folder, said):
    with pytest.raises(ConfigError, match=said):
        open_source(f"{web.url}/{folder}")


@pytest.mark.slow
def test_a_worker_s_store_gives_up_before_the_worker_is_killed(web, monkeypatch):
    monkeypatch.setenv("SAPIENS_REMOTE_SECONDS", "1000")
    watch = WorkerWatch(1, read_timeout=0.5 / SHARE_FOR_STORES)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            watch.prepare(0)
            remote.read(f"{web.url}/silent.png")
        except RemoteError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"no whole answer within the time limit" in os.read(reader, 1000)


@pytest.mark.parametrize("shape", ["{}/f/", "{}/f", "{}/f/**/*.png"])
@pytest.mark.parametrize("root", ["file://{}", "memory://m", "memory:///m"])
def test_files_of_the_disk_and_of_memory_by_url(tmp_path, root, shape):
    root = root.format(tmp_path)
    for name, shade in (("a.png", 1), ("b c/ä.png", 2)):
        remote.put(f"{root}/f/{name}", png(shade))
    looks.forget()
    source = open_source(shape.format(root))
    assert list(source.pictures().names) == ["a.png", "b c/ä.png"] and shades(source) == [1, 2]
    assert source.pictures().path(1) == f"{root}/f/b c/ä.png"
    assert shades(open_source(f"{root}/f/a.png")) == [1]
    assert open_again(shape.format(root))("a.png", f"{root}/f/a.png").pixels[0, 0, 0] == 1


@pytest.mark.parametrize("root", ["file:///nowhere", "memory://nowhere"])
def test_what_is_not_there_by_url_is_refused(root):
    looks.forget()
    with pytest.raises(ConfigError, match=f"data.images={root}/ holds no pictures; correct it"):
        open_source(f"{root}/")
    with pytest.raises(ConfigError, match=f"{root}/a.png is not there; correct the name"):
        open_source(f"{root}/a.png")


def test_a_file_of_which_the_server_says_nothing_keeps_its_copy_while_its_bytes_are_the_same(web):
    web.files = {"/w.pth": b"weights"}
    copy = local_copy(f"{web.url}/w.pth")
    before = copy.stat()
    assert local_copy(f"{web.url}/w.pth") == copy and os.path.samestat(copy.stat(), before)
    web.files = {"/w.pth": b"others!"}
    assert local_copy(f"{web.url}/w.pth").read_bytes() == b"others!"


def test_a_list_is_not_read_from_a_server(web):
    web.files = {"/list.txt": b"a.png"}
    with pytest.raises(ConfigError, match=r"list.txt is a list, and lists are not read from URLs; fetch it to a disk"):
        open_source(f"{web.url}/list.txt")


def test_a_server_that_takes_no_files_is_no_place_for_results(web):
    with pytest.raises(RemoteError, match=r"cannot be written, as this server does not support that; give another URL"):
        remote.put(f"{web.url}/x", b"x")
