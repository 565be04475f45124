"""Make the simulated samples that a configuration declares and the workspace does not hold yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hepcalib import documents, ntuples
from hepcalib.config.schema import JetSample, TopoClusterSample
from hepcalib.exceptions import DocumentError
from hepcalib.pipeline.digests import code_digest, digest, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hepcalib.config import Config, Sample

__all__ = [
    "LAYOUT_OF_KIND",
    "declared",
    "ensure_sample",
    "missing_samples",
    "sample_digest",
    "sample_path",
]

_LARGEST = 1 << 20  # of a note [bytes]
_CLUSTER_CODE = (
    "samples/topoclusters",
    "samples/cluster_features",
    "samples/cluster_response",
    "samples/response_density",
)

LAYOUT_OF_KIND = {"topoclusters": "cluster_tree", "jets": "flat_jets"}


class _Note(BaseModel):
    """What stands beside a sample that was written to its end."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    sample: str
    digest: str
    sha256: str
    entries: int
    sum_of_weights: float


def sample_digest(sample: Sample) -> str:
    """Return the sha256 of what determines a sample: its configuration, our code, generators."""
    writing = code_digest("ntuples/writing", "pipeline/samples")
    if isinstance(sample, TopoClusterSample):
        code, libraries = code_digest(*_CLUSTER_CODE), versions("numpy", "scipy")
    else:
        code = code_digest("samples/jets")
        libraries = versions("pythia8mc", "fastjet", "numpy", "awkward")
    return digest(sample.model_dump(mode="json"), writing, code, libraries)


def sample_path(config: Config, name: str) -> Path:
    """Return the file that holds, or will hold, the sample of this name."""
    folder = Path(config.workspace).absolute() / "samples"
    return folder / f"{name}-{sample_digest(config.samples[name])[:12]}.root"


def missing_samples(config: Config) -> list[str]:
    """Return the names of the samples that are not there, or not complete."""
    return [name for name in config.samples if _manifest(sample_path(config, name)) is None]


def ensure_sample(
    config: Config,
    name: str,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the file of a sample, simulating it first if it is not there.

    Args:
        config: The configuration that declares the sample.
        name: The sample's name.
        workers: Processes that simulate; the sample does not depend on their number.
        progress: Called with (events done, events) while jets are simulated.

    Returns:
        The path of the ROOT file; the JSON file beside it holds its digest and counts.
    """
    path = sample_path(config, name)
    if _manifest(path) is not None:
        return path
    sample = config.samples[name]
    columns = _simulate(sample, workers=workers, progress=progress)
    layout = LAYOUT_OF_KIND[sample.kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    ntuples.write(path, ntuples.LAYOUTS[layout].tree, columns)
    summary = ntuples.scan(path, layout, checksum=True)
    manifest = {
        "sample": name,
        "digest": sample_digest(sample),
        "sha256": summary.sha256,
        "entries": summary.entries,
        "sum_of_weights": summary.sum_of_weights,
    }
    _manifest_path(path).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return path


def declared(path: Path) -> tuple[dict[str, str], dict[str, int], dict[str, float]]:
    """Return the sha256, entries and sum of weights noted when a sample was written, by file."""
    note = _manifest(path)
    if note is None:
        return {}, {}, {}
    return (
        {path.name: note["sha256"]},
        {path.name: note["entries"]},
        {path.name: note["sum_of_weights"]},
    )


def _simulate(
    sample: Sample, *, workers: int, progress: Callable[[int, int], None] | None
) -> Mapping[str, Any]:
    if isinstance(sample, JetSample):
        from hepcalib.samples import jets

        return jets.simulate(
            sample.process,
            sample.events,
            seed=sample.seed,
            mu=(sample.pile_up.mean, sample.pile_up.width),
            workers=workers,
            progress=progress,
        )
    from hepcalib.samples import topoclusters

    return topoclusters.simulate(sample.clusters, seed=sample.seed)


def _manifest_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _manifest(path: Path) -> dict[str, Any] | None:
    """Return what was noted of a sample; None where it, or all of the note, is not there."""
    if not path.exists():
        return None
    try:
        found = documents.read(_manifest_path(path), limit=_LARGEST)
        return _Note.model_validate(found).model_dump()
    except (DocumentError, ValidationError):  # its writing was interrupted, or it is damaged
        return None
