from __future__ import annotations

import re

from hepcalib.pipeline.digests import code_digest, digest, versions


def test_digest_knows_content_only() -> None:
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": [2.5], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest("a", "b") != digest("ab")


def test_code_digest_distinguishes_rooms() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", code_digest("config"))
    assert code_digest("config", "exceptions") == code_digest("exceptions", "config")
    assert code_digest("config") != code_digest("config", "exceptions")


def test_versions_of_installed_and_absent() -> None:
    found = versions("numpy", "no-such-distribution")
    assert re.match(r"\d+\.", found["numpy"])
    assert found["no-such-distribution"] == "absent"
