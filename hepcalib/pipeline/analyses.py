"""The processors of a configuration: imported, checked, and joined so that files are read once."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

from coffea.processor import ProcessorABC

from hepcalib.config.scans import scan_models
from hepcalib.exceptions import ConfigError, HepcalibError, OutputError, suggestion
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.pipeline.isolation import own_events
from hepcalib.pipeline.kept import check_output, separated
from hepcalib.pipeline.modules import module_of
from hepcalib.run.surveying import Learner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import awkward as ak

    from hepcalib.config import Loaded

__all__ = [
    "Joined",
    "build",
    "models_of",
    "outline",
    "outputs_of",
    "processor_class",
    "stand_ins",
    "writes_columns",
]


def processor_class(loaded: Loaded, name: str) -> type[ProcessorABC]:
    """Import the processor class of an analysis, from hepcalib, installed packages or this folder.

    `processors:NAME` is hepcalib's own class of that name, also where a folder `processors` is.

    Raises:
        ConfigError: if there is no such module or class, or it is no coffea processor.
    """
    module_name, _, class_name = loaded.config.analyses[name].processor.partition(":")
    key = ("analyses", name, "processor")
    try:
        module = module_of(module_name, class_name)
    except ConfigError as error:
        raise loaded.error(key, str(error)) from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, ProcessorABC)):
        known = [
            n
            for n, c in vars(module).items()
            if inspect.isclass(c) and issubclass(c, ProcessorABC) and c is not ProcessorABC
        ]
        msg = f"'{module_name}' has no processor '{class_name}'. {suggestion(class_name, known)}"
        raise loaded.error(key, msg)
    processor: type[ProcessorABC] = found
    return processor


def stand_ins(loaded: Loaded, name: str) -> dict[str, Any]:
    """Return what the constructor gets for each role, as it is before models exist."""
    config = loaded.config
    models = dict[str, Handle | DecorrelatedTagger](dict.fromkeys(config.models, Handle("", "")))
    models |= dict.fromkeys(config.decorrelators, DecorrelatedTagger("", ""))
    return _handed(loaded, name, models, {})


def outline(loaded: Loaded, name: str) -> ProcessorABC:
    """Return the processor of an analysis before its models exist: it can tell what it needs.

    Raises:
        ConfigError: if the processor refuses the value of an option.
    """
    analysis = loaded.config.analyses[name]
    try:
        return processor_class(loaded, name)(**stand_ins(loaded, name), **analysis.options)
    except (HepcalibError, TypeError, ValueError) as error:
        raise loaded.error(("analyses", name, "options"), str(error)) from error
    except Exception as error:  # the constructor may be a user's
        msg = f"{analysis.processor} fails with {type(error).__name__}: {error}"
        raise loaded.error(("analyses", name, "options"), msg) from error


def writes_columns(loaded: Loaded, name: str) -> bool:
    """Tell whether a processor takes a folder for its per-object output, `columns`."""
    return "columns" in inspect.signature(processor_class(loaded, name)).parameters


def build(
    loaded: Loaded,
    name: str,
    *,
    handles: Mapping[str, Handle | DecorrelatedTagger],
    columns: Path,
    residuals: Mapping[str, Path] | None = None,
) -> ProcessorABC:
    """Return the processor of an analysis, with handles for its models and files of residuals.

    The constructor keeps the handles and opens none of them. If it has an argument `columns`, that
    is the folder for its per-object output.
    """
    analysis = loaded.config.analyses[name]
    found = processor_class(loaded, name)
    arguments = _handed(loaded, name, handles, residuals or {})
    if writes_columns(loaded, name):
        arguments["columns"] = str(columns)
    return found(**arguments, **analysis.options)


def models_of(loaded: Loaded, name: str) -> dict[str, str]:
    """Return the models that an analysis applies, with their roles.

    Those of its scans are included, and those that a decorrelator acts on.
    """
    used: dict[str, str] = {}
    decorrelators = loaded.config.decorrelators
    for role, given in loaded.config.analyses[name].models.items():
        model = decorrelators[given].score if given in decorrelators else given
        is_column = given in decorrelators and model not in loaded.config.models
        if is_column or model in loaded.config.residuals:
            continue
        found = scan_models(loaded.config, model).values() if model in loaded.config.scans else ()
        used |= dict.fromkeys(found or [model], role)
    return used


def _handed(
    loaded: Loaded,
    name: str,
    handles: Mapping[str, Handle | DecorrelatedTagger],
    residuals: Mapping[str, Path],
) -> dict[str, Any]:
    """Return what the constructor gets for each role: a handle, those of a scan, or a file."""
    config, arguments = loaded.config, dict[str, Any]()
    for role, used in config.analyses[name].models.items():
        if used in config.scans:
            arguments[role] = {v: handles[m] for v, m in scan_models(config, used).items()}
        elif used in config.residuals:
            arguments[role] = str(residuals.get(used, ""))
        else:
            arguments[role] = handles[used]
    return arguments


class Joined(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Several analyses in one reading of the files; outputs are named `analysis/output`."""

    def __init__(
        self, analyses: Mapping[str, ProcessorABC], *, datasets: Mapping[str, Sequence[str]]
    ) -> None:
        self.analyses = dict(analyses)
        self.datasets = {name: tuple(used) for name, used in datasets.items()}
        self.complaints: list[str] = []
        self._known: dict[str, set[str]] = {name: set() for name in self.analyses}
        self._finishing = set[str]()
        self._refusal: str | None = None
        self._kept = False

    def pilot(self) -> Joined | None:
        """Return the processor of a survey, of those analyses that need one."""
        found = {n: p.pilot() for n, p in self.analyses.items() if isinstance(p, Learner)}
        pilots = {name: pilot for name, pilot in found.items() if pilot is not None}
        return Joined(pilots, datasets=self.datasets) if pilots else None

    def informed(self, output: Mapping[str, Any]) -> Joined:
        """Return the processor whose analyses know what a survey gave."""
        changed = dict(self.analyses)
        for name, processor in self.analyses.items():
            own = outputs_of(output, name)
            if own and isinstance(processor, Learner):
                changed[name] = processor.informed(own)
        found = Joined(changed, datasets=self.datasets)
        found.complaints = self.complaints
        return found

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the outputs of every analysis that uses the dataset of these events.

        All but the last get events of their own, so that none sees what another changed.

        Raises:
            OutputError: if an output cannot be kept; then also for all further chunks, unless
                there was one before that could.
        """
        if self._refusal is not None:
            raise OutputError(self._refusal)
        dataset = events.metadata["dataset"]
        using = [name for name in self.analyses if dataset in self.datasets[name]]
        outputs: dict[str, Any] = {}
        for name in using:
            own = events if name == using[-1] else own_events(events)
            output = self.analyses[name].process(own)
            self._check(name, output)
            outputs |= {f"{name}/{key}": value for key, value in output.items()}
        return outputs

    def _check(self, name: str, output: Any) -> None:
        """Refuse an output that cannot be kept, neither as it is nor after `postprocess`."""
        if name in self._finishing:
            return
        try:
            check_output(name, output, known=self._known[name])
        except OutputError as error:
            if not self._finishes(name, output):
                self._refusal = None if self._kept else str(error)
                raise
            self._finishing.add(name)
        self._kept = True

    def _finishes(self, name: str, output: Any) -> bool:
        """Tell whether the analysis turns what it returns for chunks into what can be kept."""
        try:
            finished = self.analyses[name].postprocess(copy.deepcopy(output))
            check_output(name, finished, known=set())
        except Exception:  # noqa: BLE001 - of the user's; the reason is that of the output itself
            return False
        return True

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs after each analysis has seen its own.

        An analysis that fails here, or returns what cannot be kept, leaves its sum as it is, and a
        complaint in `complaints`.
        """
        finished: dict[str, Any] = {}
        for name, processor in self.analyses.items():
            own = outputs_of(accumulator, name)
            try:
                changed = processor.postprocess(copy.deepcopy(own)) or own
                separated(name, changed)
            except Exception as error:  # noqa: BLE001 - the sum of a whole run is kept
                reason = f"{type(error).__name__}: {error}"
                self.complaints.append(f"analysis '{name}': postprocess failed: {reason}")
                changed = own
            finished |= {f"{name}/{key}": value for key, value in changed.items()}
        return finished


def outputs_of(histograms: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the outputs of one analysis, by their own names."""
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): histogram
        for key, histogram in sorted(histograms.items())
        if key.startswith(prefix)
    }
