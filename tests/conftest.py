"""Shared fixtures: golden files, and the real command in a real process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import numpy as np
import pytest

# Before torch begins, which pytest's first process does not need: it hands out the tests, and imports nothing heavy.
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

from forked import fork_command
from stores import Line, s3_line

GOLDEN = Path(__file__).parent / "golden"
COCO = GOLDEN / "coco"
TINY = GOLDEN / "tiny_mmpose.pth"
TINY_HEADS = 4


@pytest.fixture(scope="session")
def people() -> dict[str, np.ndarray]:
    """The 12 annotated boxes by photograph, (N, 4) xyxy."""
    rows = json.loads((GOLDEN / "crops.json").read_text())
    images = sorted({row["image"] for row in rows})
    return {image: np.array([row["box_xyxy"] for row in rows if row["image"] == image]) for image in images}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()  # what is imported stays; to look through it again and again would take a quarter of the time
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _STARTING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="there is no GPU"))


_STARTING = frozenset(["start", "predict", "forked"])
"""The fixtures that start the command."""


class Run:
    """One finished run of the command and its folder."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def results(self) -> dict[str, dict]:
        root = self.folder / "predictions"
        return {
            path.relative_to(root).as_posix()[: -len(".json")]: json.loads(path.read_text("utf-8"))
            for path in sorted(root.rglob("*.json"))
        }

    @property
    def failures(self) -> list[dict]:
        path = self.folder / "failures.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    @property
    def info(self) -> dict:
        return json.loads((self.folder / "run.json").read_text())


class Started:
    """The command while it runs, in a process and a session of its own."""

    def __init__(self, process: Process | subprocess.Popen, output: Path, folder: Path) -> None:
        self._process, self._output, self.folder = process, output, folder
        self.pid = process.pid

    @property
    def code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll() if isinstance(self._process, subprocess.Popen) else self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self._process.kill()
        self.finish()

    def count(self) -> int:
        """Pictures that are done, as the records have it."""
        from sapiens_pl.records.reading import Records

        return Records.read(self.folder).count("done")

    def children(self) -> list[int]:
        return [int(text) for text in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def wait_until(self, condition: Callable[[], object], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.code is not None or time.monotonic() > end:
                self._process.kill()
                raise AssertionError(f"waited in vain (exit code {self.code}):\n{self.text('err')}")
            time.sleep(0.01)

    def finish(self, timeout: float = 240) -> Run:
        end = time.monotonic() + timeout
        while self.code is None:
            if time.monotonic() > end:
                self._process.kill()
                raise AssertionError(f"still running after {timeout} s:\n{self.text('err')}")
            time.sleep(0.01)
        return Run(self.code, self.text("out"), self.text("err"), self.folder)

    def text(self, stream: str) -> str:
        """What it has printed so far to its `out` or `err`."""
        path = self._output.with_suffix(f".{stream}")
        return path.read_text(errors="replace") if path.exists() else ""  # killed before it could say a word


def _names_a_model(argument: str) -> bool:
    return argument.startswith(("model=", "model.checkpoint="))


@pytest.fixture
def start(tmp_path: Path):
    """Starts the command in an empty working directory; `inject` is code to run before it.

    Images without a model get the demo's network (`model=sapiens` is what the command itself has by default).
    It runs in a fork of a process that has imported the package already; with `fresh`, truly as
    `python -m sapiens_pl.predict` (or as a script, if there is code to inject). `environment` is what it has beside
    the tests' own.
    """
    started: list[Started] = []

    def start(
        *overrides: object,
        folder: str | Path = "run",
        inject: str = "",
        fresh: bool = False,
        environment: Mapping[str, object] | None = None,
    ) -> Started:
        arguments = [f"hydra.run.dir={tmp_path / folder}", *map(str, overrides)]
        if any(text.startswith("data.images=") for text in arguments) and not any(map(_names_a_model, arguments)):
            arguments.append("model=demo")
        working, output = tmp_path / "elsewhere", tmp_path / f"output_{len(started)}"
        working.mkdir(exist_ok=True)
        process: Process | subprocess.Popen
        if fresh:
            how = ["-m", "sapiens_pl.predict"]
            if inject:
                script = tmp_path / "injected.py"
                script.write_text(f"{inject}\nfrom sapiens_pl.predict import main\nmain()")
                how = [str(script)]
            with open(output.with_suffix(".out"), "w") as out, open(output.with_suffix(".err"), "w") as err:
                process = subprocess.Popen(
                    [sys.executable, *how, *arguments],
                    cwd=working,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    env=os.environ | {name: str(value) for name, value in (environment or {}).items()},
                )
        else:
            process = fork_command(arguments, working, output, inject, environment=environment)
        started.append(Started(process, output, tmp_path / folder))
        return started[-1]

    yield start
    for run in started:
        if run.code is None:
            run.kill()


@pytest.fixture
def predict(start):
    """Runs the command to its end; options as for `start`."""
    return lambda *overrides, timeout=240, **options: start(*overrides, **options).finish(timeout)


@pytest.fixture
def forked(tmp_path):
    """Runs another command than `predict`, or one elsewhere, to its end; the folder of its `Run` is where it works.

    `inject` is code to run before it.
    """

    def run(module: str, *arguments: object, working: Path = tmp_path, inject: str = "") -> Run:
        output = tmp_path / f"output_of_{module}"
        process = fork_command([*map(str, arguments)], working, output, inject, module=f"sapiens_pl.{module}")
        return Started(process, output, working).finish()

    return run


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> list[str]:
    """Overrides: a network of Sapiens' architecture that costs next to nothing (random weights, 64x48 px)."""
    import torch

    from sapiens_pl.models.checkpoints import save_network
    from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

    torch.manual_seed(0)
    shape = SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))
    path = tmp_path_factory.mktemp("mini") / "mini.safetensors"
    save_network(SapiensPose(shape), path)
    return [f"model.checkpoint={path}", "model.num_heads=2", "trainer.accelerator=cpu"]


def hungry(network: str, limit: int) -> str:
    """Code to inject: passes of more than so many end as if memory ran out.

    Args:
        network: its class by its dotted name.
    """
    module, _, name = network.rpartition(".")
    return f"""
from {module} import {name}
forward = {name}.forward
def hungry_forward(self, batch):
    if len(batch) > {limit}:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return forward(self, batch)
{name}.forward = hungry_forward
"""


def check_same(results: dict[str, dict], reference: dict[str, dict], but_one_in: int = 10_000) -> None:
    """The same images and instances in the same order, all but 1 in `but_one_in` keypoints within 0.01 px.

    The mini network's peaks are so flat that rounding can move the refinement: there, 1 in 100.
    """
    assert list(results) == list(reference)
    far = total = 0
    for name, expected in reference.items():
        found = results[name]
        assert found["image"] == expected["image"]
        for key in ("instance_id", "bbox", "bbox_score"):
            assert [i[key] for i in found["instance_info"]] == [i[key] for i in expected["instance_info"]]
        distance = np.abs(keypoints_of(found) - keypoints_of(expected)).max(axis=1, initial=0)
        far, total = far + (distance > 0.01).sum(), total + len(distance)
    assert total > 0 and far <= total / but_one_in


def keypoints_of(result: dict) -> np.ndarray:
    return np.array([instance["keypoints"] for instance in result["instance_info"]]).reshape(-1, 2)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Line]:
    """A server and the line to it, one for all tests of a file."""
    with s3_line() as line:
        yield line
