"""The checksums of input files, written down beside the configuration for the next time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.datasets import scan_datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hepcalib.config import Loaded

__all__ = ["record_checksums", "record_path", "with_recorded"]

_LARGEST = 100_000_000  # bytes of a record: more than half a million files

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel, extra="forbid", frozen=True):
    """What `NAME.checksums.json` holds: for each dataset, file -> sha256."""

    version: Literal[1] = 1
    sha256: dict[str, dict[str, Digest]]


def record_path(config: Path) -> Path:
    """Return the file beside a configuration that holds the checksums of its input files."""
    return config.with_suffix(".checksums.json")


def with_recorded(loaded: Loaded, config: Path) -> Loaded:
    """Return the configuration with the recorded checksums among those that it declares.

    What a dataset declares itself comes first.

    Raises:
        ConfigError: if the record is damaged, or has a file that its dataset has no more.
    """
    path = record_path(config)
    if not path.exists():
        return loaded
    recorded = _read(path).sha256
    datasets = dict(loaded.config.datasets)
    for name in set(recorded) & set(datasets):
        declared = datasets[name].sha256
        added = {
            file: digest
            for file, digest in recorded[name].items()
            if file not in declared and Path(file).name not in declared
        }
        datasets[name] = datasets[name].model_copy(update={"sha256": {**added, **declared}})
    return replace(loaded, config=loaded.config.model_copy(update={"datasets": datasets}))


def record_checksums(loaded: Loaded, config: Path) -> str:
    """Write down the sha256 of all input files that can be read; simulated samples have theirs.

    Returns:
        What was done, in one line.

    Raises:
        ConfigError: if the file cannot be written.
    """
    path = record_path(config)
    names = [name for name, dataset in loaded.config.datasets.items() if dataset.sample is None]
    found: dict[str, dict[str, str]] = {}
    for dataset in scan_datasets(loaded, names=names, checksum=True):
        digests = {file.path: file.sha256 for file in dataset.files if file.sha256 is not None}
        keys = _keys([*digests, *(file.path for file in dataset.unreadable)])
        found[dataset.name] = {keys[file]: digest for file, digest in digests.items()}
    try:
        before = _read(path).sha256
    except ConfigError:  # there is none, or a damaged one, which is replaced
        before = {}
    part = path.with_suffix(".part")
    try:
        part.write_text(Record(sha256=found).model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        msg = f"{path}: the checksums cannot be written: {error.strerror or error}"
        raise ConfigError(msg) from error
    count = sum(len(files) for files in found.values())
    return f"{path}: sha256 of {count} files written{_changes(before, found)}"


def _keys(files: Sequence[str]) -> Mapping[str, str]:
    """Return the name of each file, or its path where another one has the same name."""
    names = Counter(Path(file).name for file in files)
    return {file: Path(file).name if names[Path(file).name] == 1 else file for file in files}


def _changes(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> str:
    changed = [
        f"{dataset}: {file}"
        for dataset, files in now.items()
        for file, digest in files.items()
        if before.get(dataset, {}).get(file, digest) != digest
    ]
    if not changed:
        return ""
    others = f" and {len(changed) - 3} others" if len(changed) > 3 else ""
    return f"; not what they were: {', '.join(changed[:3])}{others}"


def _read(path: Path) -> Record:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST + 1)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from error
    hint = "remove it, or write it anew with --record-checksums"
    if len(text) > _LARGEST:
        msg = f"{path}: is no record of checksums: larger than {_LARGEST} bytes; {hint}"
        raise ConfigError(msg)
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        where = f"{key}: " if key else ""
        msg = f"{path}: is no record of checksums: {where}{first['msg']}; {hint}"
        raise ConfigError(msg) from None
