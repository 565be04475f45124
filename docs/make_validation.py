"""Turn the report of the validation tests into a table: `make validate` writes validation.md."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

HEAD = """# Validation

What `make validate` measured when it was last run: every check that is too long for `make test`,
with the numbers that it recorded. A check fails when its bound, written in the test, is broken.

| check | result | measured |
|---|---|---|
"""


def main(report: Path, page: Path) -> None:
    """Write the page from a JUnit report of pytest."""
    rows = sorted(_row(case) for case in ET.parse(report).iter("testcase"))
    page.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def _row(case: ET.Element) -> str:
    place = case.get("classname", "").removeprefix("tests.").replace(".", "/")
    outcomes = {"failure": "**failed**", "error": "**error**", "skipped": "skipped"}
    result = next((text for tag, text in outcomes.items() if case.find(tag) is not None), "passed")
    measured = "; ".join(
        f"{found.get('name')}: {found.get('value')}" for found in case.iter("property")
    )
    return f"| `{place}` {case.get('name', '').replace('|', '/')} | {result} | {measured} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
