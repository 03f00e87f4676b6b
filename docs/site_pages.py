"""What the site shows beside docs/*.md; mkdocs calls these functions (`hooks` in mkdocs.yml).

Pages on a code host link to files by their place in the repository. In the site, a link to README.md, CHANGELOG.md,
CONTRIBUTING.md or the notebook leads to their page, and one to any other file to a copy of it under `repository/`. A
link that leads nowhere is left as it is, so that the strict build finds it.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/python.ipynb": "notebook.md",
}
"""Places in the repository, and the pages that show them."""
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that lie outside of docs/, and a copy of each file that a page links to."""
    for place, page in PAGES.items():
        text = (ROOT / place).read_text("utf-8")
        files.append(File.generated(config, page, content=notebook(text) if place.endswith(".ipynb") else text))
    for file in list(files.documentation_pages()):
        for linked in {found[1] for found in _LINK.finditer(file.content_string)}:
            place = in_repository(file.src_uri, linked)
            if place and (copy := in_site(place)) not in files.src_uris and copy.startswith("repository/"):
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links between places of the repository into links between places of the site."""

    def turned(link: re.Match[str]) -> str:
        place = in_repository(page.file.src_uri, link[1])
        return f"]({in_site(place)}{link[2] or ''})" if place else link[0]

    return _LINK.sub(turned, markdown)


def in_repository(page: str, link: str) -> str | None:
    """Where in the repository a page's link leads; None if it is no link to one of its files."""
    source = next((place for place, shown in PAGES.items() if shown == page), f"docs/{page}")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return place if (ROOT / place).is_file() and not place.startswith("..") else None


def in_site(place: str) -> str:
    """Where the site has a file of the repository; all pages lie at its top, so this is also the link to it."""
    if place in PAGES:
        return PAGES[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    # Browsers show text, and would save Python and YAML to the disk.
    return f"repository/{place}.txt" if place.endswith((".py", ".yaml", "LICENSE")) else f"repository/{place}"


def notebook(text: str) -> str:
    """A notebook as Markdown, with the outputs that it holds; nothing is run."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        parts += [shown for output in cell.get("outputs", ()) if (shown := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<img alt="output" src="data:{kind};base64,{data[kind].strip()}">'
    if "text/html" in data:
        return f"<div>{data['text/html']}</div>"
    printed = "".join(output.get("text", ())) or data.get("text/plain", "")
    return f"```text\n{printed.rstrip()}\n```" if printed else ""
