"""Calls to what lies behind URLs: tried again with growing waits, within a time limit, counted, many in flight.

Every process has a loop of its own in a thread of its own, made at the first call, and file systems that are used in
that loop only: what a forked process inherits of its parent's is left untouched, as its connections and its thread are
the parent's. fsspec's own cache of file systems, its loop and its locks are not used.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from sapiens_pl.core.errors import ConfigError, MissingRemoteError, SapiensError, StoreRefusedError
from sapiens_pl.core.remote_sentences import judged, refused_in_a_row

T = TypeVar("T")

_SECONDS, _TRIES = "SAPIENS_REMOTE_SECONDS", "SAPIENS_REMOTE_TRIES"
_SLOWEST = 250_000
"""Bytes a second: what is slower counts as an answer that never comes."""
_FIRST_WAIT_SECONDS = 0.2
_IN_FLIGHT = 32
_THREADS = 16
_IN_A_ROW = 8
_IN_A_ROW_ON_THE_WEB = 100
"""A list of addresses has many servers, some of which no longer exist."""
_CREDENTIALS = ("AWS_", "FSSPEC_", "GOOGLE_", "AZURE_", "HF_")
_URL_SIGNS = "%/:=&?~#+!$,;'@()*[]"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http", "abfs": "az", "az": "az"}


class Store:
    """A file system of fsspec's, of which each method is a coroutine: `await store("cat_file", path)`.

    Args:
        system: fsspec's.
        threads: for a file system that blocks.
    """

    def __init__(self, system: Any, threads: ThreadPoolExecutor) -> None:
        self.system, self._threads = system, threads

    async def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        if self.system.async_impl:
            return await getattr(self.system, f"_{method}")(*args, **options)
        blocking = partial(getattr(self.system, method), *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, blocking)


class _Caller:
    """One process's calls."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "store")
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)
        self._stores: dict[tuple, Store] = {}
        self._failed_in_a_row: Counter[str] = Counter()
        threading.Thread(target=self.loop.run_forever, name="stores", daemon=True).start()

    async def call(self, url: str, what: Callable[[Store], Awaitable[T]], num_bytes: int, done: str) -> T:
        """Raises SapiensError with a sentence."""
        protocol, wait = urlsplit(url).scheme.lower(), _FIRST_WAIT_SECONDS
        # Also while it waits for the next try, so that the first requests end first.
        async with self._in_flight:
            limit, end = self._times(num_bytes)
            for left in range(tries() - 1, -1, -1):
                try:
                    _REQUESTS.write(b"\0")
                    value = await asyncio.wait_for(what(self._store(protocol)), min(limit, end - self.loop.time()))
                except SapiensError:
                    raise
                except Exception as error:
                    verdict = judged(error, url, done)
                    if not verdict.again or left == 0 or self.loop.time() + wait > end:
                        raise self._given_up(url, protocol, verdict.error, verdict.again) from None
                    _RETRIES.write(b"\0")
                else:
                    self._failed_in_a_row[protocol] = 0
                    return value
                await asyncio.sleep(wait * random.uniform(0.5, 1))
                wait *= 2
        raise AssertionError

    def _times(self, num_bytes: int) -> tuple[float, float]:
        """Seconds for a try, and when the last one ends."""
        limit = seconds_a_request() + num_bytes / _SLOWEST
        return limit, self.loop.time() + min(2 * limit, _most_seconds)

    def _given_up(self, url: str, protocol: str, error: SapiensError, was_tried: bool) -> SapiensError:
        if isinstance(error, MissingRemoteError):
            self._failed_in_a_row[protocol] = 0
        if isinstance(error, MissingRemoteError | StoreRefusedError):
            return error
        on_the_web = protocol in ("http", "https")
        self._failed_in_a_row[protocol] += was_tried or not on_the_web
        times = self._failed_in_a_row[protocol]
        return refused_in_a_row(url, error, times) if times >= (_IN_A_ROW, _IN_A_ROW_ON_THE_WEB)[on_the_web] else error

    def _store(self, protocol: str) -> Store:
        key = protocol, *((name, value) for name, value in os.environ.items() if name.startswith(_CREDENTIALS))
        if key not in self._stores:  # also where a Python caller has set new credentials
            self._stores[key] = Store(_file_system(protocol), self._threads)
        return self._stores[key]


def submit(url: str, what: Callable[[Store], Awaitable[T]], num_bytes: int = 0, done: str = "read") -> Future[T]:
    """Begins to do something with a URL, in the thread for that.

    Args:
        what: called, with the store, for each try.
        num_bytes: that go over the line; more have more time.
        done: completes the sentence "URL cannot be ...".
    """
    caller = _caller()
    return asyncio.run_coroutine_threadsafe(caller.call(url, what, num_bytes, done), caller.loop)


def give_up_within(seconds: float) -> None:
    """From now on no call of this process takes longer, with all its tries."""
    global _most_seconds
    _most_seconds = seconds


def check_protocol(url: str) -> None:
    """Raises ConfigError for an unknown protocol, one whose library is missing, and text that is not a URL."""
    try:
        urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{url} is not a URL ({error}); correct it.") from None
    _class_of(urlsplit(url).scheme.lower())


def path_of(url: str) -> str:
    """A URL in the form that its file system uses."""
    if is_on_the_web(url):
        return quote(url, _URL_SIGNS)
    path = _class_of(urlsplit(url).scheme.lower())._strip_protocol(url)
    return str(path)


def url_of(path: str, like: str) -> str:
    """The URL of a path of a file system, with the protocol of another URL."""
    return path if "://" in path else f"{urlsplit(like).scheme}://{path}"


def is_amazons(url: str) -> bool:
    return urlsplit(url).scheme.lower() in ("s3", "s3a")


def is_on_the_web(url: str) -> bool:
    return urlsplit(url).scheme.lower() in ("http", "https")


def knows_ranges(url: str) -> bool:
    """Whether pieces of a file can be read; web servers are asked, and may send the whole instead."""
    if not is_on_the_web(url):
        return True

    async def ask(store: Store) -> bool:
        session = await store.system.set_session()
        async with session.get(path_of(url), **{**store.system.kwargs, "headers": {"Range": "bytes=0-0"}}) as answer:
            return bool(answer.status == 206)

    return submit(url, ask).result()


def seconds_a_request() -> float:
    return _number(_SECONDS, 20.0)


def tries() -> int:
    return max(int(_number(_TRIES, 6)), 1)


def requests() -> int:
    """The number of requests of this process and those that it has forked."""
    return os.fstat(_REQUESTS.fileno()).st_size


def retries() -> int:
    """How many of them repeated one that had failed."""
    return os.fstat(_RETRIES.fileno()).st_size


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ConfigError(f"{variable}={text} must be a number; correct it in the environment.") from None


def _class_of(protocol: str) -> Any:
    from fsspec.registry import get_filesystem_class, known_implementations

    try:
        return get_filesystem_class(protocol)
    except ImportError as error:
        module = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'sapiens_pl[{extra}]'" if extra else str(error.args[0] if error.args else error)
        needs = "aiohttp" if extra == "http" else module
        raise ConfigError(f"{protocol}:// needs {needs}, which is not installed: {remedy}.") from None
    except ValueError:
        raise ConfigError(
            f"{protocol}:// is not a known protocol; use s3://, gs://, az://, hf://, https:// or a path."
        ) from None


def _file_system(protocol: str) -> Any:
    from fsspec.config import conf

    kind = _class_of(protocol)
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if kind.async_impl:
        options["asynchronous"] = True
    if protocol in ("s3", "s3a"):
        given = {**conf.get("s3", {}), **conf.get(protocol, {})}.get("config_kwargs", {})
        own = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 2 * _IN_FLIGHT}
        options |= {"config_kwargs": {**own, **given}, "max_concurrency": 1}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        waits = ClientTimeout(total=None, sock_connect=seconds_a_request(), sock_read=seconds_a_request())
        options |= {"encoded": True, "client_kwargs": {"trust_env": True, "timeout": waits}}
    if protocol in ("file", "local"):
        options["auto_mkdir"] = True
    system = kind(**options)
    if protocol in ("s3", "s3a"):
        system.retries = 1  # they are counted here
    return system


# One for each process

_most_seconds = math.inf
_LOCK = threading.Lock()
_CALLER: _Caller | None = None
_OF_PARENTS: list[_Caller] = []
"""Never freed: the connections must not be closed here."""


def _caller() -> _Caller:
    global _CALLER
    with _LOCK:
        if _CALLER is None:
            _CALLER = _Caller()
        return _CALLER


def _begin_anew() -> None:
    global _CALLER, _LOCK
    if _CALLER is not None:
        _OF_PARENTS.append(_CALLER)
    _CALLER, _LOCK = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


# Files without a name, whose lengths are counts: forked processes add to them without a lock.
_REQUESTS = tempfile.TemporaryFile("ab", buffering=0)  # noqa: SIM115
_RETRIES = tempfile.TemporaryFile("ab", buffering=0)  # noqa: SIM115
