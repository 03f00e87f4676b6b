"""Reading and writing behind URLs: a real S3 server, busy, slow and cut lines, forked workers, sentences."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import Answer, Line
from torch.utils.data import DataLoader, Dataset

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, MissingRemoteError, RemoteError, StoreRefusedError
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.core.remote_sentences import without_secrets

BIG = os.urandom(20 << 20)


@pytest.fixture
def line(s3_server: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Line]:
    s3_server.lead(monkeypatch, XDG_CACHE_HOME=str(tmp_path / "cache"))
    s3_server.asked.clear()
    yield s3_server
    s3_server.seconds, s3_server.spoil = 0.0, lambda number, method, path: None


def test_what_is_put_is_listed_looked_at_read_and_removed(line):
    remote.put("s3://bucket/a/1.txt", b"one")
    remote.put("s3://bucket/a/2 ü.txt", b"two!")
    remote.put("s3://bucket/ab/3.txt", b"three")
    entries = remote.list_below("s3://bucket/a")
    assert [(entry.url, entry.num_bytes) for entry in entries] == [
        ("s3://bucket/a/1.txt", 3),
        ("s3://bucket/a/2 ü.txt", 4),
    ]
    assert remote.look("s3://bucket/a/1.txt") == entries[0]
    assert remote.read(entries[1].url) == b"two!" and remote.read(entries[1].url, 1, 3) == b"wo"
    remote.remove("s3://bucket/a/1.txt")
    remote.remove("s3://bucket/a/1.txt")
    assert [entry.url for entry in remote.list_below("s3://bucket/a/")] == ["s3://bucket/a/2 ü.txt"]
    with pytest.raises(MissingRemoteError, match=r"^s3://bucket/a/1.txt is not there; correct the name\.$"):
        remote.read("s3://bucket/a/1.txt")


def test_one_request_reads_a_small_file(line):
    remote.put("s3://bucket/small", b"small")
    line.asked.clear()
    assert remote.read("s3://bucket/small") == b"small"
    assert line.asked == ["GET /bucket/small"]


def test_only_one_of_many_creates_a_file(line):
    assert remote.put_if_absent("s3://bucket/lock", b"mine")
    assert not remote.put_if_absent("s3://bucket/lock", b"yours")
    remote.remove("s3://bucket/lock")
    assert remote.put_if_absent("s3://bucket/lock", b"yours")
    remote.remove("s3://bucket/lock")


@pytest.mark.slow
def test_a_large_file_comes_in_pieces_each_tried_again(line, tmp_path):
    remote.put("s3://bucket/big.tar", BIG)
    before = remote.retries()
    spoilt = {2: Answer(503), 3: Answer(None), 5: Answer(500)}
    line.asked.clear()
    line.spoil = lambda number, method, path: spoilt.get(number)
    remote.fetch("s3://bucket/big.tar", tmp_path / "big.tar")
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert remote.retries() - before == len(spoilt)
    assert len(line.asked) == 2 + 3 + len(spoilt)


def test_a_copy_is_made_once_as_long_as_the_file_is_the_same(line):
    remote.put("s3://bucket/w.pth", b"weights")
    first = local_copy("s3://bucket/w.pth")
    line.asked.clear()
    assert local_copy("s3://bucket/w.pth") == first and first.name == "w.pth"
    assert not [asked for asked in line.asked if asked.startswith("GET")]
    remote.put("s3://bucket/w.pth", b"others!")
    assert local_copy("s3://bucket/w.pth").read_bytes() == b"others!"
    assert not first.exists()


class Reads(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[int, bytes]:
        return os.getpid(), remote.read(f"s3://bucket/fork/{index}")


@pytest.mark.slow
def test_forked_workers_read_while_their_parent_does(line):
    for index in range(12):
        remote.put(f"s3://bucket/fork/{index}", b"%d" % index)
    before, stop = remote.retries(), threading.Event()
    line.spoil = lambda number, method, path: Answer(503) if number % 10 == 0 and method == "GET" else None

    def go_on_reading() -> None:
        while not stop.wait(0.01):
            remote.read("s3://bucket/fork/0")

    thread = threading.Thread(target=go_on_reading)
    thread.start()
    try:
        for _ in range(2):
            found = list(
                DataLoader(Reads(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
            )
            assert [data for _, data in found] == [b"%d" % index for index in range(12)]
            assert len({process for process, _ in found} - {os.getpid()}) == 2
    finally:
        stop.set()
        thread.join()
    assert remote.retries() > before


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredToken", 400, r"have expired \(ExpiredToken\); get new ones .*run the same command again"),
        ("InvalidAccessKeyId", 403, r"are not accepted \(InvalidAccessKeyId\); correct them \(AWS_ACCESS_KEY_ID"),
        ("NoSuchBucket", 404, r"There is no bucket bucket \(s3://bucket/x\); correct the name"),
    ],
)
def test_what_is_wrong_with_the_whole_store_is_no_picture_s_fault(line, code, status, said):
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    line.spoil = lambda number, method, path: Answer(status, body)
    with pytest.raises(StoreRefusedError, match=said) as caught:
        remote.read("s3://bucket/x")
    assert len(line.asked) == 1
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), StoreRefusedError)


@pytest.mark.slow
def test_a_store_that_is_busy_for_ever_costs_one_and_after_some_all(line, monkeypatch):
    monkeypatch.setenv("SAPIENS_REMOTE_TRIES", "2")
    line.spoil = lambda number, method, path: Answer(503)
    kinds = []
    for _ in range(9):
        with pytest.raises((RemoteError, StoreRefusedError), match="503") as caught:
            remote.read("s3://bucket/x")
        kinds.append(type(caught.value))
    assert kinds[0] is RemoteError and kinds[-1] is StoreRefusedError
    line.spoil = lambda number, method, path: None
    remote.put("s3://bucket/x", b"x")
    assert remote.read("s3://bucket/x") == b"x"


@pytest.mark.slow
def test_no_credentials_is_said(line, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    script = "from sapiens_pl.core import remote\ntry: remote.read('s3://bucket/x')\nexcept Exception as e: print(e)"
    assert "There are no credentials for s3://bucket" in os.popen(f'python -c "{script}"').read()


def test_unknown_protocols_and_missing_libraries(monkeypatch):
    with pytest.raises(ConfigError, match=r"^nfs42:// is not a known protocol; use s3://"):
        remote.check_protocol("nfs42://a/b")
    with pytest.raises(
        ConfigError, match=r"gs:// needs gcsfs, which is not installed: pip install 'sapiens_pl\[gs\]'\."
    ):
        remote.check_protocol("gs://a/b")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pass@host/a.jpg", "https://host/a.jpg"),
        ("https://host/a.jpg?X-Amz-Signature=abc", "https://host/a.jpg?..."),
        ("s3://bucket/a?b@c.jpg", "s3://bucket/a?b@c.jpg"),
        ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert remote.hidden(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x=https://me:pass@host/a.jpg,https://me:pass@host/b.jpg y", "x=https://host/a.jpg,https://host/b.jpg y"),
        ("hydra.searchpath=[file://conf]", "hydra.searchpath=[file://conf]"),
        ("hydra.searchpath=[pkg://a.b,file:///c]", "hydra.searchpath=[pkg://a.b,file:///c]"),
        ("[https://host/a?key=1]", "[https://host/a?...]"),
        ("(https://me:pass@[::1]/a)", "(https://[::1]/a)"),
        ("https://me:pass@[", "https://..."),
    ],
)
def test_every_url_of_a_text_is_shown_without_its_secrets(text, shown):
    assert without_secrets(text) == shown
