"""Writes docs/configuration.md from conf/: `python docs/write_configuration.py`.

Every setting with its full name, its default and the comment that stands above it in the YAML. What a file overrides
without a comment is explained by the file that it builds on. A setting that nothing explains is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "configuration.md"
GROUPS = ("data", "boxes", "model", "trainer", "output", "tracking", "smoothing")
_COMMON = {"boxes": "Every box file", "model": "Every network"}
GLOBAL = "# @package _global_"
_NO_SETTINGS = ("_target_", "_convert_", "_recursive_", "defaults")
_INTERNAL = ("products", "hydra.output_subdir", "hydra.callbacks")
"""How the package puts itself together; nobody sets these."""
_HANDED_ON = re.compile(r"\$\{[a-z_.]+\}")
"""A value that only repeats another setting, for the class that is made with it."""
_NAMES = "|".join((*GROUPS, "experiment", "hydra", "formats", "annotations"))
_VALUE = r"(?:\[[^\]]*\]|[^\s;()'\[]*(?:[^\s;()'.,:\[]|\.\.\.))"
_CODE = re.compile(rf"(?<![\w/'.])((?:{_NAMES})(?:[./][a-z_.]*[a-z_])?={_VALUE}|(?:{_NAMES})\.[a-z_.]*[a-z_])(?![\w/])")


class Setting(NamedTuple):
    """One key of one file: its full name, the default as the file spells it, and its own comment."""

    name: str
    default: str
    comment: str


class ConfFile(NamedTuple):
    """One YAML: what stands at its top, the files of its group that it builds on, and its own settings."""

    name: str
    header: str
    bases: list[str]
    settings: list[Setting]


def read(path: Path, prefix: str = "") -> ConfFile:
    """Reads one file; `prefix` is its group, which goes before the names of its settings."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    tree = yaml.compose(text)
    top = [line for line in lines if line != GLOBAL]
    end = next((n for n, line in enumerate(top) if not line.startswith("#")), len(top))
    header = _joined(top[:end])
    within = "" if GLOBAL in lines else prefix
    settings = [] if tree is None else list(_settings(tree, within, lines))
    bases = [each for each in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(each, str)]
    return ConfFile(path.stem, header, [each for each in bases if (path.parent / f"{each}.yaml").exists()], settings)


def _settings(node: yaml.MappingNode, within: str, lines: list[str]):
    for key, value in node.value:
        name = f"{within}.{key.value}".lstrip(".")
        if key.value in _NO_SETTINGS or name.startswith(_INTERNAL):
            continue
        comment = _above(lines, key.start_mark.line, key.start_mark.column)
        if isinstance(value, yaml.MappingNode):
            if comment:
                yield Setting(name, "", comment)
            yield from _settings(value, name, lines)
        else:
            default = _spelt(value, lines)
            if not _HANDED_ON.fullmatch(default):
                yield Setting(name, default, comment)


def _above(lines: list[str], number: int, column: int) -> str:
    """The comment lines that stand right above a line, as far in as it."""
    first = number
    while first and lines[first - 1].startswith(" " * column + "#"):
        first -= 1
    return _joined([line for line in lines[first:number] if line != GLOBAL]) if first else ""


def _joined(comments: list[str]) -> str:
    return " ".join(line.strip().removeprefix("#").strip() for line in comments).strip()


def _spelt(value: yaml.Node, lines: list[str]) -> str:
    start, end = value.start_mark, value.end_mark
    if start.line == end.line:
        return lines[start.line][start.column : end.column]
    return " ".join([lines[start.line][start.column :], *map(str.strip, lines[start.line + 1 : end.line + 1])])


def group(name: str) -> dict[str, ConfFile]:
    return {path.stem: read(path, name.replace("/", ".")) for path in sorted((CONF / name).glob("*.yaml"))}


def explained(file: ConfFile, files: dict[str, ConfFile]) -> list[Setting]:
    """The file's settings, those without a comment with the comment of the file that it builds on."""
    return [each._replace(comment=each.comment or _inherited(each.name, file, files)) for each in file.settings]


def _inherited(name: str, file: ConfFile, files: dict[str, ConfFile]) -> str:
    for base in reversed(file.bases):
        own = next((each.comment for each in files[base].settings if each.name == name), "")
        if comment := own or _inherited(name, files[base], files):
            return comment
    return ""


def own_page(file: ConfFile) -> bool:
    """Whether a choice has settings of its own to explain, or only other values for settings of others."""
    return not file.bases or any(each.comment for each in file.settings)


def unexplained() -> list[str]:
    """Settings that nothing explains."""
    missing = [each.name for page in ("predict", "make", "evaluate") for each in _top(page) if not each.comment]
    for name in (*GROUPS, "hydra/launcher"):
        files = group(name)
        for file in files.values():
            missing += [f"{file.name}: {each.name}" for each in explained(file, files) if not each.comment]
    missing += [f"products/{f.name}: {s.name}" for f in group("products").values() for s in f.settings if not s.comment]
    every = [*GROUPS, "products", "sources", "experiment"]
    return missing + [f"{name}/{file.name}" for name in every for file in group(name).values() if not file.header]


def _top(name: str) -> list[Setting]:
    return read(CONF / f"{name}.yaml").settings


def shown(text: str) -> str:
    """A comment as Markdown that a table takes: settings as code, links to pages, nothing that is read as markup."""
    parts = re.split(r"(`[^`]*`)", text)
    for place in range(0, len(parts), 2):
        pieces = re.split(r"(docs/[\w-]+\.md)", parts[place])
        for n, piece in enumerate(pieces):
            if n % 2:
                pieces[n] = f"[{Path(piece).stem}]({Path(piece).name})"
            else:
                pieces[n] = "".join(f"`{bit}`" if k % 2 else _literal(bit) for k, bit in enumerate(_CODE.split(piece)))
        parts[place] = "".join(pieces)
    return "".join(parts).replace("|", "\\|")


def _literal(text: str) -> str:
    return re.sub(r"(\*|(?<!\w)_|_(?!\w))", r"\\\1", text.replace("<", "&lt;"))


def table(settings: list[Setting]) -> list[str]:
    defaults = [f"`{each.default}`" if each.default else "" for each in settings]
    rows = [f"| `{each.name}` | {default} | {shown(each.comment)} |" for each, default in zip(settings, defaults)]
    return ["| setting | default | what it does |", "| --- | --- | --- |", *rows, ""] if rows else []


def choices(name: str) -> list[str]:
    """A group: each choice that has settings of its own under its own heading, the others as one table."""
    files, lines = group(name), []
    alone = [file for file in files.values() if own_page(file)]
    for file in sorted(alone, key=lambda each: not each.name.startswith("_")):
        common = file.name.startswith("_")
        if len(alone) > 1:
            lines += [f"### {_COMMON[name] if common else f'`{name}={file.name}`'}", ""]
        lines += [shown(file.header), "", *table(explained(file, files))]
        for base in file.bases:
            whose = f"those of {_COMMON[name].lower()}" if base.startswith("_") else f"those of `{name}={base}`"
            lines += [f"Its other settings are {whose}.", ""]
    return lines + values([file for file in files.values() if not own_page(file)], name)


def values(files: list[ConfFile], name: str) -> list[str]:
    if not files:
        return []
    lines = ["| choice | what it is | what it sets |", "| --- | --- | --- |"]
    for file in files:
        sets = "<br>".join(f"`{each.name}={each.default}`" for each in file.settings)
        lines.append(f"| `{name}={file.name}` | {shown(file.header)} | {sets} |")
    return [*lines, ""]


def page() -> str:
    """The whole page."""
    lines = [
        "# Configuration: every setting",
        "",
        "This page is made from the comments in `conf/` by `python docs/write_configuration.py`. A setting is given as",
        "`NAME=VALUE` behind the command, a choice of a group as `GROUP=CHOICE`. [Settings](settings.md) has the usual",
        "ones and says how to quote names; `python -m sapiens_pl.predict --cfg job` prints all of them with the values",
        "that a command would use. `null` means that nothing is given.",
        "",
        "## The command `predict`",
        "",
        *table(_top("predict")),
    ]
    for name in GROUPS:
        lines += [f"## {name}", "", *_default(name), *choices(name)]
        if name == "output":
            lines += ["### Settings of single formats", "", *_of_products()]
    lines += ["## experiment", "", "Ready-made combinations: `experiment=NAME`.", ""]
    lines += values(list(group("experiment").values()), "experiment")
    lines += ["## Formats", "", "Any of these may stand in `output.formats=[...]`.", ""]
    lines += [f"- `{file.name}`: {shown(_after_name(file.header))}" for file in group("products").values()]
    lines += ["", "## Sources", "", "What `data.source` may name; without it, `data.images` decides.", ""]
    lines += [f"- `{file.name}`: {shown(file.header)}" for file in group("sources").values()]
    lines += ["", "## SLURM", "", "With `hydra/launcher=slurm` or `experiment=slurm`.", "", *choices("hydra/launcher")]
    for name in ("make", "evaluate"):
        lines += [f"## The command `{name}`", "", shown(read(CONF / f"{name}.yaml").header), "", *table(_top(name))]
    return "\n".join(lines).rstrip() + "\n"


def _default(name: str) -> list[str]:
    taken = next(each[name] for each in yaml.safe_load((CONF / "predict.yaml").read_text())["defaults"] if name in each)
    many = len([file for file in group(name) if not file.startswith("_")]) > 1
    return [f"Unless another is chosen: `{name}={taken}`.", ""] if many else []


def _of_products() -> list[str]:
    return table([each for file in group("products").values() for each in file.settings])


def _after_name(header: str) -> str:
    return re.sub(r"^output\.formats=\[\w+\]: ", "", header)


if __name__ == "__main__":
    if missing := unexplained():
        raise SystemExit(f"no comment in conf/ explains {', '.join(missing)}")
    PAGE.write_text(page(), "utf-8")
