"""Turn reports of the validation tests into a table: `make validate` writes validation.md.

    python docs/make_validation.py REPORT [REPORT ...] PAGE

Of several reports, a later one replaces all checks of the test files that it has.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

HEAD = """# Validation

What `make validate` measured when it was last run, or each test file of it by itself: every check
that is too long for `make test`, with the numbers that it recorded. A check fails when its bound,
written in the test, is broken.

| check | result | measured |
|---|---|---|
"""


def main(reports: list[Path], page: Path) -> None:
    """Write the page from JUnit reports of pytest."""
    files: dict[str, list[str]] = {}
    for report in reports:
        found: dict[str, list[str]] = {}
        for case in ET.parse(report).iter("testcase"):
            found.setdefault(case.get("classname", ""), []).append(_row(case))
        files |= found
    rows = sorted(row for checks in files.values() for row in checks)
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
    *given, written = map(Path, sys.argv[1:])
    main(given, written)
