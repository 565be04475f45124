"""What a configuration may say: frozen models that refuse unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from hepcalib.config.decorrelation import Decorrelator, Penalty, Planing
from hepcalib.config.names import Name, Names, PathText
from hepcalib.config.numbers import Amount, Count, Positive, Processes, Range, Real, Seed, Whole

__all__ = [
    "Analysis",
    "BundleFile",
    "Config",
    "Dataset",
    "Inputs",
    "JetSample",
    "ModelConfig",
    "PileUp",
    "Residual",
    "RunOptions",
    "Sample",
    "Scan",
    "TopoClusterSample",
    "Training",
]


class PileUp(BaseModel, extra="forbid", frozen=True):
    """Mean and width of the normal distribution of mu, the mean interactions per crossing."""

    mean: Positive = 40.0
    width: Amount = 12.0


class TopoClusterSample(BaseModel, extra="forbid", frozen=True):
    """Simulated topo-clusters with exactly known response density."""

    kind: Literal["topoclusters"]
    clusters: Count
    seed: Seed


class JetSample(BaseModel, extra="forbid", frozen=True):
    """Pythia 8 jets with pile-up and a parametrised detector."""

    kind: Literal["jets"]
    process: Literal["qcd", "wprime", "top"]
    events: Count
    seed: Seed
    pile_up: PileUp = PileUp()


Sample = Annotated[TopoClusterSample | JetSample, Field(discriminator="kind")]


class Dataset(BaseModel, extra="forbid", frozen=True):
    """Input of an analysis: a simulated sample, or files (globs and ${VARIABLES}) with a layout.

    `sha256`, `events` and `sum_of_weights` declare, per file name, what the file must be; with
    `tolerate_bad_files` a file that cannot be read is skipped, with its reason in the ledger.
    """

    sample: str | None = None
    files: tuple[PathText, ...] = ()
    layout: str | None = None
    sha256: dict[str, str] = {}
    events: dict[str, Whole] = {}
    sum_of_weights: dict[str, Real] = {}
    tolerate_bad_files: bool = False


class Inputs(BaseModel, extra="forbid", frozen=True):
    """Names, from the feature catalogue, of what a model sees."""

    features: tuple[str, ...] = ()
    constituents: tuple[str, ...] = ()


class Training(BaseModel, extra="forbid", frozen=True):
    """How a model is trained, on all objects or on so many `examples` of them.

    One thread is best for small networks, and models that are missing are trained side by side.
    With `parts`, a model sees the events of one `part` of so many: independent samples of about
    the same size.
    """

    epochs: Count = 20
    min_steps: Whole = 0
    batch_size: Count = 1024
    learning_rate: Positive = 1e-3
    weight_decay: Amount = 0.0
    patience: Count | None = None
    seed: Seed = 0
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Processes = 1
    gradient_clip: Positive | None = None
    keep: Literal["best", "last"] = "best"
    examples: Count | None = None
    part: Count = 1
    parts: Count = 1
    validation_fraction: Annotated[Positive, Field(lt=1)] = 0.2


class ModelConfig(BaseModel, extra="forbid", frozen=True):
    """A model, what it learns, and from which datasets.

    A response model learns the `target` of the measured over the true `quantity`: the energy of
    clusters, the transverse momentum, energy or mass of jets. A tagger separates the objects
    labelled `signal` from those labelled 0. `pt_range` and `mass_range` (of the soft-drop mass)
    select the jets to learn from, in GeV; weights `flat_pt` make the transverse momentum of each
    class flat over its range; `spectrum_power` p multiplies the weights by true^p; `planing` makes
    the spectra of both classes of a tagger the same. Boosted trees are `uniform_in` some columns.
    """

    kind: Literal["response", "tagger"]
    object: Literal["cluster", "jet"]
    datasets: Names
    inputs: Inputs
    network: dict[str, Any]
    target: Literal["log10_response", "response", "log10_truth"] = "log10_response"
    quantity: Literal["energy", "pt", "mass"] | None = None
    location: Literal["mean", "median", "mode", "response_mean", "response_mode"] = "median"
    signal: Count = 1
    pt_range: Range | None = None
    mass_range: Range | None = None
    weights: Literal["event", "flat_pt", "none"] = "none"
    spectrum_power: Real = 0.0
    planing: Planing | None = None
    penalty: Penalty | None = None
    uniform_in: tuple[str, ...] = ()
    training: Training = Training()

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The columns that the score shall not tell, by a penalty or by boosting."""
        return self.uniform_in if self.penalty is None else self.penalty.nuisances


class BundleFile(BaseModel, extra="forbid", frozen=True):
    """A model trained elsewhere: the folder of its bundle, and the sha256 it must have."""

    bundle: PathText
    sha256: str | None = None


def _is_bundle(value: Any) -> str | None:
    if isinstance(value, dict):
        return "existing bundle" if "bundle" in value else "trained model"
    known: dict[type, str] = {ModelConfig: "trained model", BundleFile: "existing bundle"}
    return known.get(type(value))


Model = Annotated[
    Annotated[ModelConfig, Tag("trained model")] | Annotated[BundleFile, Tag("existing bundle")],
    Discriminator(
        _is_bundle,
        custom_error_type="model",
        custom_error_message="A model should be a mapping: of its keys, of 'bundle', or of 'from'",
    ),
]


class Scan(BaseModel, extra="forbid", frozen=True):
    """Copies of a model that differ in one `key`, such as `training.examples`.

    Several keys all take the same value: `[training.part, network.seed]` makes models that are
    independent of each other.

    They are models of their own, named `scan-value`; an analysis takes all of them by the name of
    the scan.
    """

    model: Name
    key: str | Annotated[tuple[str, ...], Field(min_length=1)]
    values: Annotated[tuple[Positive | Count, ...], Field(min_length=2, max_length=1000)]


class Residual(BaseModel, extra="forbid", frozen=True):
    """A numerical inversion of what the response of a `model` leaves, fitted to some `datasets`.

    The `location` of calibrated over true is found in `true_bins` (edges in GeV, or a number of
    bins with the same number of objects) times the bins of the `variables`, at most two standard
    columns with their edges. Best are datasets that the model was not trained on.
    """

    model: Name
    datasets: Names
    variables: Annotated[dict[str, tuple[Real, ...]], Field(max_length=2)] = {}
    location: Literal["mean", "median", "mode"] = "median"
    true_bins: Annotated[Count, Field(ge=2)] | tuple[Positive, ...] = 10
    minimum_entries: Count = 20
    weights: Literal["event", "none"] = "none"


class Analysis(BaseModel, extra="forbid", frozen=True):
    """A processor (`module:Class`), its datasets, the models it applies and its own options.

    A role in `models` may be given a model, a decorrelator, or a scan: then the processor gets a
    mapping. The role `residual` is given a residual correction.
    """

    processor: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    datasets: Names
    models: dict[str, str] = {}
    options: dict[str, Any] = {}


class RunOptions(BaseModel, extra="forbid", frozen=True):
    """Where and how the processors run."""

    executor: Literal["iterative", "futures", "dask"] = "iterative"
    workers: Processes = 1
    chunk_size: Count = 100_000
    max_events: Count | None = None
    address: str | None = None
    retries: Whole = 2


class Config(BaseModel, extra="forbid", frozen=True):
    """A whole analysis."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]
    workspace: PathText = ".hepcalib"
    output: PathText | None = None
    samples: dict[Name, Sample] = {}
    models: dict[Name, Model] = {}
    scans: dict[Name, Scan] = {}
    residuals: dict[Name, Residual] = {}
    decorrelators: dict[Name, Decorrelator] = {}
    datasets: dict[Name, Dataset]
    analyses: dict[Name, Analysis]
    run: RunOptions = RunOptions()
