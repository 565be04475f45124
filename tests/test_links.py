"""Links and images of the documentation lead to files that exist, anchors to headings."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

FENCED = re.compile(r"^(```|~~~).*?^\1 *$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
LINKS = (
    re.compile(r"\]\(<?([^)>\s]*)>?(?:\s+\"[^\"]*\")?\)"),  # [text](target "title"), images too
    re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?([^>\s]+)", re.MULTILINE),  # [name]: target
    re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=\"([^\"]*)\""),
)

MADE_UP = """# A page

Of [itself](#a-page), [a file](there.md "title"), [a part of it](there.md#two-words-1),
![fine](a.png), [afar](https://a.b/c.md#d), [![a badge](lost.png)](lost.md),
[a missing part](there.md#three-words), [nowhere](#no-heading), [a comment](#comment),
`[code](is.no)`, ``[more `code`](is.no)``, <img width="3" src="gone.png">, [by name][name] and
[outside](../outside.md).

[name]: other.md#top

```python
# Comment
print([0](1))
```
"""
BROKEN = {
    "lost.png", "lost.md", "there.md#three-words", "#no-heading", "#comment", "gone.png",
    "other.md#top", "../outside.md",
}  # fmt: skip


def links(text: str) -> list[str]:
    """What a page links to, outside of its code."""
    prose = CODE.sub("", FENCED.sub("", text))
    return [target for pattern in LINKS for target in pattern.findall(prose)]


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a page get; equal ones are numbered."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.*)$", FENCED.sub("", text), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(page: Path, root: Path) -> set[str]:
    """The links of a page, without those to other hosts, that lead to nothing below the root."""
    failed = set()
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page.resolve()
        inside = file.is_relative_to(root.resolve()) and file.exists()
        if not inside or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            failed.add(link)
    return failed


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(ROOT / page, ROOT) == set()


def test_pages_have_links_of_every_kind() -> None:
    """The control of the test above: it looks at something."""
    found = {link for page in PAGES for link in links((ROOT / page).read_text(encoding="utf-8"))}
    assert {str(page) for page in PAGES} >= {"README.md", "docs/guide.md", "docs/validation.md"}
    assert {"docs/guide.md#your-own-processor", "#concepts", "LICENSE"} <= found
    assert any(link.endswith(".png") for link in found)


def test_broken_links_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (tmp_path / "outside.md").write_text("Outside.", encoding="utf-8")
    (folder / "there.md").write_text("## Two words\n\n### `Two` *words*\n", encoding="utf-8")
    (folder / "a.png").touch()
    (folder / "page.md").write_text(MADE_UP, encoding="utf-8")
    assert broken(folder / "page.md", folder) == BROKEN
