"""A film of ten minutes: is it decoded once, does memory grow, and does a run come to the same whatever happens?

`python -m benchmarks film` (Linux; needs sapiens_pl[video]). The demo's film, looped, with a network of next to no
cost: by 0 to 4 workers, killed ten times and continued, by two ranks and by three shards. Every packet that is decoded
is counted, the resident memory of every process is sampled, and `film.png` shows it over time.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import Result, Row
from sapiens_pl import demo
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

TABLES = ("parquet/*", "keypoints.csv", "predictions/*")
COUNTING = """
import os
from sapiens_pl.pictures.video import VideoDecoder
count, feed = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), VideoDecoder._feed
def counting_feed(self, reader):
    before = self.num_decoded
    went_on = feed(self, reader)
    os.write(count, b"." * (self.num_decoded - before))
    return went_on
VideoDecoder._feed = counting_feed
"""
"""Run in each process, it adds a byte to a file for each packet that is decoded."""
COMMAND = """
from sapiens_pl.predict import main
if __name__ == "__main__":
    main()
"""
Series = dict[int, list[tuple[float, float]]]
"""Of each process by its id: seconds since the beginning, and resident MB."""


def loop_film(path: Path, num_frames: int) -> None:
    """The demo's film again and again, its packets as they are."""
    import av

    with av.open(str(demo.FILM)) as film, av.open(str(path), "w") as looped:
        source = film.streams.video[0]
        target = looped.add_stream_from_template(source)
        packets = [packet for packet in film.demux(source) if packet.size]
        length = max(packet.pts for packet in packets) + packets[0].duration
        for number in range(num_frames):
            turns, place = divmod(number, len(packets))
            packet, like = av.Packet(bytes(packets[place])), packets[place]
            packet.stream, packet.time_base, packet.is_keyframe = target, source.time_base, like.is_keyframe
            packet.pts, packet.dts = like.pts + turns * length, like.dts + turns * length
            looped.mux(packet)


def prepare(folder: Path, num_frames: int) -> list[str]:
    """The film, its boxes and the network; settings for them."""
    loop_film(folder / "film.mp4", num_frames)
    people = [row["bboxes"] for row in json.loads(demo.FILM_PEOPLE.read_text())]
    boxes = {f"film.mp4/film_{index:012d}": people[index % len(people)] for index in range(num_frames)}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    torch.manual_seed(0)
    save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), folder / "n.safetensors")
    settings = [f"data.images={folder / 'film.mp4'}", "boxes=json", f"boxes.file={folder / 'boxes.json'}"]
    settings += [f"model.checkpoint={folder / 'n.safetensors'}", "model.num_heads=2", "data.batch_size=16"]
    return [*settings, "trainer.accelerator=cpu", "output.formats=[parquet,csv,frames_json]"]


def tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


def resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def tables_of(folder: Path) -> str:
    """A digest of all files that hold the whole run."""
    digest = hashlib.sha256()
    for path in sorted(each for pattern in TABLES for each in folder.glob(pattern)):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def difference(folder: Path, reference: Path) -> str:
    """Between the tables of two runs."""
    if tables_of(folder) == tables_of(reference):
        return "none"
    lines = [(each / "keypoints.csv").read_text().splitlines() for each in (folder, reference)]
    rows = [[line.split(",") for line in pair] for pair in zip(*lines) if pair[0] != pair[1]]
    if len(lines[0]) != len(lines[1]) or any(one[:4] != other[:4] for one, other in rows):
        return "other rows"
    most = max((abs(float(one[at]) - float(other[at])) for one, other in rows for at in (4, 5)), default=0.0)
    return f"{len(rows)} of {len(lines[0]) - 1} keypoints by up to {most:.3f} px"


def watched(commands: list[list[str]], series: Series, count: Path, kill_at: float = np.inf) -> list[int]:
    """Runs the commands at the same time, samples their processes, and kills them once so much has been decoded."""
    begin, open_ = time.monotonic(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running: list[Any] = [subprocess.Popen(command, start_new_session=True, **open_) for command in commands]
    while any(process.poll() is None for process in running):
        for pid in {each for process in running for each in tree(process.pid)}:
            series.setdefault(pid, []).append((time.monotonic() - begin, resident_mb(pid)))
        if count.stat().st_size > kill_at:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        time.sleep(0.25)
    return [process.returncode for process in running]


def growth_mb(samples: list[tuple[float, float]]) -> float:
    """From the second quarter of a process's life to the last; none where it has hardly lived."""
    values = [resident for _, resident in samples if resident > 50]
    quarter = len(values) // 4
    return float(np.median(values[-quarter:]) - np.median(values[quarter : 2 * quarter])) if quarter >= 8 else 0.0


def run(quick: bool) -> list[Result]:
    num_frames, rng = (900 if quick else 18_000), random.Random(18)
    cases = {"data.num_workers=2": [["data.num_workers=2"]], "killed 10 times": [["data.num_workers=2"]]}
    cases["2 ranks"] = [["data.num_workers=1", "trainer.devices=2", "trainer.strategy=ddp"]]
    cases["3 shards"] = [["data.num_workers=1", "data.num_shards=3", f"data.shard={shard}"] for shard in range(3)]
    cases |= {f"data.num_workers={workers}": [[f"data.num_workers={workers}"]] for workers in (1, 4, 0)}
    rows: list[Row] = []
    kept: dict[str, Series] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings, count, script = prepare(folder, num_frames), folder / "count", folder / "counting.py"
        script.write_text(COUNTING.format(file=str(count)) + COMMAND)
        for name, variants in cases.items():
            count.write_bytes(b"")
            output = folder / f"run{len(rows)}"
            command = [sys.executable, str(script), *settings, f"hydra.run.dir={output}"]
            commands, series = [[*command, *variant] for variant in variants], kept.setdefault(name, {})
            begin = time.monotonic()
            for _ in range(10 if name.startswith("killed") else 0):
                watched(commands, {}, count, count.stat().st_size + rng.uniform(0, num_frames / 12))
            codes = watched(commands, series, count)
            rows.append(
                {
                    "run": name,
                    "exit codes": " ".join(map(str, codes)),
                    "difference to the first": difference(output, folder / "run0"),
                    "decoded, a frame": round(count.stat().st_size / num_frames, 3),
                    "seconds": round(time.monotonic() - begin),
                    "processes": sum(growth_mb(samples) != 0 for samples in series.values()),
                    "most resident, MB": round(max(mb for samples in series.values() for _, mb in samples)),
                    "most growth, MB": round(max(map(growth_mb, series.values())), 1),
                }
            )
            print(rows[-1], flush=True)
            if not quick:
                draw(kept, Path(__file__).parent / "results" / "film.png")
    notes = [f"{num_frames} frames of 640x360; growth: from the second quarter of a process's life to the last."]
    notes += [
        "Difference: parquet/, keypoints.csv, predictions/, byte by byte; a shorter last batch is rounded otherwise."
    ]
    notes += ["Killed: memory is that of the last start's processes."]
    return [Result("film", "A long film: decoded once, in flat memory, to the same tables?", rows, notes)]


def draw(kept: dict[str, Series], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3), layout="constrained")
    for axes, (name, series) in zip(figure.subplots(1, len(kept), sharey=True, squeeze=False)[0], kept.items()):
        for samples in series.values():
            axes.plot(*zip(*samples), linewidth=0.8)
        axes.set(title=name, xlabel="seconds")
    figure.axes[0].set_ylabel("resident MB of each process")
    figure.savefig(path, dpi=70)
