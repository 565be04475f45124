"""The output directory of a run: what was asked, with what, what came out, and what is missing."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hepcalib
from hepcalib import config as configuration
from hepcalib import documents, hists, ntuples
from hepcalib.exceptions import DataError, DocumentError, HepcalibError, RunError
from hepcalib.pipeline.digests import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist

    from hepcalib.config import Config
    from hepcalib.inference import DecorrelatedTagger, Handle
    from hepcalib.pipeline.folder import OutputFolder
    from hepcalib.run import Dataset

__all__ = ["claim", "read_counters", "read_histograms", "write_json", "write_run"]

_LARGEST = 1 << 29  # of histograms.json and counters.json [bytes]

_NAMES = (
    "config.yaml",
    "counters.json",
    "histograms.json",
    "histograms.root",
    "ledger.json",
    "metrics.json",
    "provenance.json",
    "columns",
    "figures",
)

_DISTRIBUTIONS = (
    "awkward",
    "boost-histogram",
    "coffea",
    "dask",
    "fastjet",
    "hepcalib",
    "hist",
    "mplhep",
    "numpy",
    "pythia8mc",
    "scipy",
    "torch",
    "uproot",
)


def write_run(
    folder: OutputFolder,
    config: Config,
    *,
    histograms: Mapping[str, Hist[Any]],
    counters: Mapping[str, Any],
    datasets: Sequence[Dataset],
    handles: Mapping[str, Handle | DecorrelatedTagger],
    residuals: Mapping[str, Path] | None = None,
) -> list[str]:
    """Write the histograms as JSON and ROOT, counters.json and provenance.json.

    Returns:
        What ROOT files do not hold, and why; it is only in histograms.json.
    """
    folder.write("histograms.json", hists.to_json(histograms))
    if counters:
        write_json(folder, "counters.json", counters)
    text = configuration.dump(config)
    provenance = _provenance(text, datasets, handles)
    if residuals:
        provenance["residuals"] = {name: _sha256(path) for name, path in sorted(residuals.items())}
    write_json(folder, "provenance.json", provenance)
    return _write_root(folder, histograms)


def _write_root(folder: OutputFolder, histograms: Mapping[str, Hist[Any]]) -> list[str]:
    made: dict[str, Hist[Any]] = {}
    left_out: dict[str, str] = {}
    for name, histogram in histograms.items():
        try:
            parts = hists.projections({name: histogram})
        except HepcalibError as error:
            left_out[name] = str(error)
            continue
        taken = sorted(parts.keys() & made.keys())
        if taken:
            left_out[name] = f"another histogram is named '{taken[0]}' there"
        else:
            made |= parts
    with folder.writing("histograms.root") as temporary:
        left_out |= ntuples.write_histograms(temporary, made)
    return [f"histograms.root is without '{name}': {why}" for name, why in left_out.items()]


def claim(folder: OutputFolder, config: Config) -> None:
    """Empty the folder of what an earlier run wrote, and begin a new one with its config.yaml.

    Raises:
        RunError: if it cannot be written, or a foreign file has the name of an output.
    """
    for name in _NAMES:
        folder.refuse_foreign(name)
    folder.clear(lambda name: name != "config.yaml")
    folder.write("config.yaml", configuration.dump(config))


def read_histograms(out: Path) -> dict[str, Hist[Any]]:
    """Return the histograms of an earlier run.

    Raises:
        RunError: if the folder holds none, or what it holds is damaged.
    """
    path = out / "histograms.json"
    try:
        return hists.from_json(documents.content(path, limit=_LARGEST).decode())
    except DocumentError as error:
        what = "no such file" if error.missing else str(error)
        msg = f"{path}: {what}; run `hepcalib process` with the same --out first"
        raise RunError(msg) from error
    except (DataError, UnicodeDecodeError) as error:
        msg = f"{path}: {error}; it is damaged: run `hepcalib process` again"
        raise RunError(msg) from error


def read_counters(out: Path) -> dict[str, dict[str, Any]]:
    """Return what the analyses of an earlier run counted beside their histograms.

    Raises:
        RunError: if counters.json is none of hepcalib.
    """
    path = out / "counters.json"
    try:
        document = documents.read(path, limit=_LARGEST)
    except DocumentError as error:
        if error.missing:
            return {}
        msg = f"{path}: {error}"
        raise RunError(msg) from error
    if not isinstance(document, dict) or not all(isinstance(v, dict) for v in document.values()):
        msg = f"{path}: needed: a mapping of analyses to their counters; it must come from hepcalib"
        raise RunError(msg)
    return document


def write_json(folder: OutputFolder, name: str, value: Any) -> None:
    """Write a value as indented JSON, without NaN."""
    folder.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _provenance(
    config: str, datasets: Sequence[Dataset], handles: Mapping[str, Handle | DecorrelatedTagger]
) -> dict[str, Any]:
    return {
        "command": shlex.join(["hepcalib", *sys.argv[1:]]),
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "versions": versions(*_DISTRIBUTIONS),
        "inputs": {
            dataset.name: [
                {"file": str(f.path), "sha256": f.sha256, "entries": f.entries}
                for f in dataset.files
            ]
            for dataset in datasets
        },
        "bundles": {name: handle.sha256 for name, handle in sorted(handles.items())},
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git_revision() -> str | None:
    """Return the revision of the code that runs, with "+changes" where files differ from it."""
    folder = Path(hepcalib.__file__).parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", ".")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return f"{revision}+changes" if changed else revision


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
