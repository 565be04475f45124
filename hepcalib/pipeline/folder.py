"""The output directory: a list of what hepcalib wrote there; nothing else is ever touched."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml

from hepcalib.exceptions import RunError
from hepcalib.ntuples.parts import is_part
from hepcalib.ntuples.writing import TEMPORARY, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["MANIFEST", "OutputFolder"]

MANIFEST: Final = "hepcalib-outputs.json"
_LARGEST = 16_000_000  # bytes of a list
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 3  # names of foreign files in a complaint


class OutputFolder:
    """A folder with the list of the files that hepcalib wrote there, and their SHA-256.

    A file counts as written by hepcalib if it is on the list and still has that content. All
    others, and every link, are foreign: they are never changed, replaced or removed.

    Args:
        path: The folder, which need not exist.
        workspace: The workspace of the configuration, which may be inside and is not foreign.

    Raises:
        RunError: if the path is no folder or cannot be read, or its list is none of hepcalib.
    """

    def __init__(self, path: Path, *, workspace: Path | None = None) -> None:
        self.path = path
        self._workspace = None if workspace is None else workspace.resolve()
        if self._workspace is not None and path.resolve() == self._workspace:
            msg = f"{path}: is the workspace; choose another output directory"
            raise RunError(msg)
        with _saying(path, "cannot be read"):
            if (path.exists() or path.is_symlink()) and not path.is_dir():
                msg = f"{path}: is not a folder; choose another output directory"
                raise RunError(msg)
            self._files = _listed(path) or _of_earlier_versions(path)

    def examine(self, *, force: bool = False) -> None:
        """Refuse a folder that cannot be written, or holds what hepcalib did not make.

        Args:
            force: Whether foreign files may be there; they stay as they are.

        Raises:
            RunError: naming the first foreign files.
        """
        with _saying(self.path, "cannot be read"):
            place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
            if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
                msg = f"{self.path}: cannot be written: {place} is no folder that one may write to"
                raise RunError(msg)
            found = list(itertools.islice(self._foreign(), _SHOWN + 1))
        if found and not force:
            names = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
            msg = (
                f"{self.path}: holds what hepcalib did not write, or was changed since: {names}; "
                "choose another --out, or keep it there with --force"
            )
            raise RunError(msg)

    def clear(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what hepcalib wrote (of the wanted names), and nothing else."""
        with _saying(self.path, "cannot be emptied"):
            for name in sorted(filter(wanted, self._files), key=_ledger_first):
                if self._is_ours(name):
                    (self.path / name).unlink()
                self._drop_empty(PurePosixPath(name).parent)
                del self._files[name]
            if (self.path / MANIFEST).exists():
                self._save()
        self.clear_parts()

    def clear_parts(self) -> None:
        """Remove temporary files, and the columns of single chunks."""
        with _saying(self.path, "cannot be emptied"):
            for name in [n for n, entry in self._contents() if _is_unfinished(n, entry)]:
                (self.path / name).unlink()
                self._drop_empty(PurePosixPath(name).parent)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path for the file of this name, which appears whole or not at all.

        Raises:
            RunError: if it cannot be written, or a foreign file has this name.
        """
        self.refuse_foreign(name)
        with replacing(self.path / name) as temporary:
            yield temporary
            self._note({name: temporary})

    def write(self, name: str, text: str) -> None:
        """Write a text file; it appears whole or not at all."""
        with self.writing(name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def adopt(self, finished: Iterable[tuple[Path, str]]) -> None:
        """Give files that were written in this folder their names, and put them on the list."""
        moves = list(finished)
        for _, name in moves:
            self.refuse_foreign(name)
        with _saying(self.path, "cannot be written"):
            self._note({name: path for path, name in moves})
            for path, name in moves:
                path.replace(self.path / name)

    def refuse_foreign(self, name: str) -> None:
        """Refuse to write a name that a foreign file has, or that is behind a link."""
        place = self.path
        for part in PurePosixPath(name).parts:
            place = place / part
            last = place == self.path / name
            if (
                place.is_symlink()
                or (place.exists() and not place.is_dir())
                or (last and PurePosixPath(name).suffix and place.exists())
            ):
                break
        else:
            return
        if not self._is_ours(name):
            msg = f"{place}: is not from hepcalib and will not be replaced; move it away"
            raise RunError(msg)

    def _foreign(self) -> Iterator[str]:
        for name, entry in self._contents():
            if name != MANIFEST and not _is_unfinished(name, entry) and not self._is_ours(name):
                yield name

    def _contents(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every file and link below the folder; links are not followed."""
        waiting = [""] if self.path.is_dir() else []
        while waiting:
            prefix = waiting.pop()
            for entry in sorted(os.scandir(self.path / prefix), key=lambda e: e.name):
                name = f"{prefix}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    yield name, entry.stat(follow_symlinks=False)
                elif self._workspace is None or Path(entry.path).resolve() != self._workspace:
                    waiting.append(f"{name}/")

    def _is_ours(self, name: str) -> bool:
        """Tell whether a name is on the list, inside, no link, and has the listed content."""
        digest, parts = self._files.get(name), PurePosixPath(name).parts
        places = [self.path.joinpath(*parts[: i + 1]) for i in range(len(parts))]
        if digest is None or any(place.is_symlink() for place in places):
            return False
        return places[-1].is_file() and _sha256(places[-1]) == digest

    def _note(self, written: dict[str, Path]) -> None:
        """Put files on the list, before they get their names."""
        self._files |= {name: _sha256(path) for name, path in written.items()}
        self._save()

    def _save(self) -> None:
        if (self.path / MANIFEST).is_symlink():
            msg = f"{self.path / MANIFEST}: is a link; move it away"
            raise RunError(msg)
        document = {"version": 1, "sha256": dict(sorted(self._files.items()))}
        with replacing(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def _drop_empty(self, parent: PurePosixPath) -> None:
        """Remove folders inside that hold nothing any more."""
        while parent.parts:
            place = self.path / parent
            if place.is_symlink() or not place.is_dir() or any(place.iterdir()):
                return
            place.rmdir()
            parent = parent.parent


def _ledger_first(name: str) -> tuple[bool, str]:
    """Sort so that nothing that is left of a run looks complete."""
    return name != "ledger.json", name


def _is_unfinished(name: str, entry: os.stat_result) -> bool:
    """Tell what a run that was killed leaves: temporary files, and columns of single chunks."""
    path = PurePosixPath(name)
    if not stat.S_ISREG(entry.st_mode):
        return False
    in_parts = path.parts[0] == "columns" and len(path.parts) == 4
    return path.name.startswith(TEMPORARY) or (in_parts and is_part(path.name))


def _listed(folder: Path) -> dict[str, str]:
    """Return the list in a folder, empty if there is none."""
    path = folder / MANIFEST
    if not path.exists() and not path.is_symlink():
        return {}
    complaint = RunError(f"{path}: is no list of hepcalib; move it away or choose another --out")
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            raise complaint
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise complaint from error
    files = document.get("sha256") if isinstance(document, dict) else None
    if not isinstance(files, dict) or document.get("version") != 1:
        raise complaint
    for name, digest in files.items():
        if not (_is_inside(name) and isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise complaint
    return files


def _is_inside(name: str) -> bool:
    """Tell a plain relative path from one that leads elsewhere."""
    path = PurePosixPath(name)
    return (
        name == str(path)
        and not path.is_absolute()
        and ".." not in path.parts
        and name not in {".", MANIFEST}
        and "\0" not in name
    )


def _of_earlier_versions(folder: Path) -> dict[str, str]:
    """Return the outputs in a folder without a list, as earlier versions have left them.

    Such a folder is known by the digest of config.yaml in its provenance.json. Its files are
    known by name: the fixed ones, and those that begin with an analysis or a model.
    """
    config, provenance = folder / "config.yaml", folder / "provenance.json"
    if not all(path.is_file() and not path.is_symlink() for path in (config, provenance)):
        return {}
    if max(config.stat().st_size, provenance.stat().st_size) > _LARGEST:
        return {}
    try:
        stated = json.loads(provenance.read_text(encoding="utf-8"))["config_sha256"]
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
        if stated != _sha256(config):
            return {}
        analyses, models = dict(document["analyses"]), dict(document.get("models") or {})
    except (ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return {}
    outputs = ("ledger.json", "histograms.json", "histograms.root", "metrics.json")
    names = [config, provenance, *(folder / name for name in outputs)]
    starts = (*(f"{name}_" for name in analyses), *(f"training_{name}" for name in models))
    for part, suffixes in (("figures", {".png", ".pdf"}), ("columns", {".root"})):
        if not (folder / part).is_symlink():
            names += [
                path
                for path in (folder / part).glob("*")
                if path.suffix in suffixes and path.name.startswith(starts)
            ]
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in names
        if path.is_file() and not path.is_symlink()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _saying(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{path}: {what}: {reason}"
        raise RunError(msg) from error
