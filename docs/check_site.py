"""Does the built site hold together? Links within it lead to a page and a place on it, and the search knows every page.

python docs/check_site.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from monai_robust import __version__

__all__ = ["faults"]

MADE_BY_SPHINX = ("genindex", "search", "py-modindex")  # no text of their own, and not in the index of the search


class _Page(HTMLParser):
    """What a page links to, and the places on it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.places = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def faults(folder: Path) -> list[str]:
    """What is wrong with the site in ``folder``, a sentence each.

    Raises:
        FileNotFoundError: there is no site.
    """
    pages = {path: _Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    found = [] if pages else [f"{folder} holds no page"]
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if not target.is_file():
                found.append(f"{name} links to {link}, which is not there")
            elif target.suffix == ".html" and unquote(parts.fragment) not in _places(pages, target):
                found.append(f"{name} links to {link}, a place that is not there")
    found += _not_found_by_search(folder, pages)
    first = (folder / "docs" / "index.html").read_text()
    found += [f"the first page does not say {word}" for word in (__version__, "Apache License") if word not in first]
    return found


def _places(pages: dict[Path, _Page], target: Path) -> set[str]:
    return next((page.places for path, page in pages.items() if path.resolve() == target), set())


def _not_found_by_search(folder: Path, pages: dict[Path, _Page]) -> list[str]:
    index = (folder / "searchindex.js").read_text()
    listed = re.search(r'"?docnames"?:\s*\[(.*?)\]', index)
    names = set(re.findall(r'"([^"]+)"', listed[1])) if listed else set()
    own = {path.relative_to(folder).with_suffix("").as_posix() for path in pages}
    own = {name for name in own if name not in MADE_BY_SPHINX and not name.startswith("_") and name != "index"}
    return [f"the search does not know {name}" for name in sorted(own - names)]


if __name__ == "__main__":
    wrong = faults(Path(sys.argv[1]))
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(1 if wrong else 0)
