"""The output directory of a run: what was asked, with what, what came out, and what is missing."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hepcalib
from hepcalib import config as configuration
from hepcalib import documents, hists, ntuples
from hepcalib.exceptions import DataError, DocumentError, RunError
from hepcalib.pipeline.digests import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist

    from hepcalib.config import Config
    from hepcalib.inference import DecorrelatedTagger, Handle
    from hepcalib.run import Dataset, Ledger

_LARGEST = 1 << 29  # of histograms.json [bytes]

__all__ = ["claim", "read_histograms", "write_json", "write_run"]

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
    out: Path,
    config: Config,
    *,
    histograms: Mapping[str, Hist[Any]],
    ledger: Ledger,
    datasets: Sequence[Dataset],
    handles: Mapping[str, Handle | DecorrelatedTagger],
    residuals: Mapping[str, Path] | None = None,
) -> None:
    """Write provenance.json, ledger.json and the histograms, as JSON and ROOT."""
    text = configuration.dump(config)
    provenance = _provenance(text, datasets, handles)
    if residuals:
        provenance["residuals"] = {name: _sha256(path) for name, path in sorted(residuals.items())}
    write_json(out / "provenance.json", provenance)
    write_json(out / "ledger.json", ledger.to_json())
    (out / "histograms.json").write_text(hists.to_json(histograms), encoding="utf-8")
    ntuples.write_histograms(out / "histograms.root", hists.projections(histograms))


def claim(out: Path, config: Config) -> None:
    """Make the output directory with its config.yaml, or empty that of an earlier run.

    Raises:
        RunError: if the folder holds columns or figures that no run has put there.
    """
    made = [out / name for name in ("columns", "figures") if (out / name).exists()]
    if made and not (out / "config.yaml").exists():
        msg = f"{made[0]}: is not from an earlier run and would be replaced; choose another --out"
        raise RunError(msg)
    for folder in made:
        shutil.rmtree(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(configuration.dump(config), encoding="utf-8")


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


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, without NaN."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


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
