"""A trained cluster calibration as ONNX, with inputs and outputs as the Athena tool has them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

import hepcalib
from hepcalib.exceptions import ConfigError
from hepcalib.export.graph import MISSING, Graph
from hepcalib.export.inputs import add_transforms, probe
from hepcalib.export.mixture import (
    COMPONENTS,
    SMALLEST_SHARE,
    add_components,
    add_moments,
    add_network,
    add_order,
)
from hepcalib.export.networks import Members, mean_network, member_networks
from hepcalib.features.clusters import FEATURES
from hepcalib.models import MixtureHead
from hepcalib.models.components import components
from hepcalib.settings import own_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle

__all__ = ["AthenaOutputs", "athena_outputs", "write_onnx"]

Draws = Literal["frozen", "mean"]

FEATURE_NAMES = tuple(f"cluster.{feature.name}" for feature in FEATURES)

TOLERANCE = 1e-5  # of a number, or of its unit if that is larger: the head's scale for mus, else 1


class AthenaOutputs(NamedTuple):
    """Three components per cluster, each (rows, 3): means of log10 R, ln of variances, shares."""

    mus: Tensor
    sigmas: Tensor
    alphas: Tensor


@own_settings()
def write_onnx(
    bundle: Bundle, path: str | Path, *, draws: Draws = "frozen", raw_inputs: bool = False
) -> None:
    r"""Write the calibration of topo-clusters as an ONNX file for the Athena tool.

    Input `features`, float32 [n, 15], in the order of the tool; outputs `mus` (of log10 R),
    `sigmas` (ln of the variance) and `alphas` (shares), float32 [n, 3]. Nothing is random: the
    weight draws of a Bayesian network are numbers in the file, and all M of them are evaluated.
    Their 3 M components become three, one for each of the head's, of the moments

    .. math:: \alpha_k = \langle \alpha_{mk} \rangle, \quad
        \mu_k = \langle \alpha_{mk} \mu_{mk} \rangle / \alpha_k, \quad
        \sigma_k^2 = \langle \alpha_{mk} (\sigma_{mk}^2 + (\mu_{mk} - \mu_k)^2) \rangle / \alpha_k

    so that mean and variance of the mixture are those of all components: the variance is that of
    the total uncertainty. Component k of one Bayesian network is the same in all draws. That of
    networks which were initialised independently is not: theirs are put into the order of their
    means first.

    The graph is evaluated and compared with the model before it is written.

    Reference: arXiv:2412.04370.

    Args:
        bundle: A response model of clusters: an MLP with a mixture of 3 components of log10 R and
            the 15 inputs of the tool, alone or in a wrapper.
        path: The file, replaced if it exists.
        draws: "frozen" for all members of the model, "mean" for the network of the mean weights,
            which is M times faster and leaves out the statistical uncertainty.
        raw_inputs: Whether `features` are raw (GeV, mm, ns) and transformed in the graph, or
            already transformed (see `athena_transforms`).

    Raises:
        ConfigError: if the bundle is of another kind, or onnx or onnxruntime is not installed.
    """
    head = _checked(bundle)
    if draws not in ("frozen", "mean"):
        msg = f"draws is '{draws}'; needed: 'frozen' or 'mean'"
        raise ConfigError(msg)
    found = member_networks(bundle.model)
    if draws == "mean":
        found = Members((mean_network(bundle.model),), aligned=True)
    content = _content(bundle, head, found, draws=draws, raw_inputs=raw_inputs)
    _compare(bundle, content, draws=draws, raw_inputs=raw_inputs)
    target = Path(path)
    temporary = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        msg = f"{target}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error


@own_settings()
@torch.no_grad()
def athena_outputs(bundle: Bundle, batch: Batch, *, draws: Draws = "frozen") -> AthenaOutputs:
    """Return what an exported graph computes, by torch in float64 from the members' outputs.

    Args:
        bundle: As in `write_onnx`.
        batch: Transformed features.
        draws: As in `write_onnx`.

    Raises:
        ConfigError: if the bundle cannot be exported.
    """
    _checked(bundle)
    model = bundle.model
    members = model.members(batch) if draws == "frozen" else model.head(model.outputs(batch)[None])
    parts = components(members)
    log_shares, means, deviations = (part.double() for part in parts)
    if draws == "frozen" and not member_networks(model).aligned:
        order = means.argsort(-1)
        log_shares, means, deviations = (
            part.gather(-1, order) for part in (log_shares, means, deviations)
        )
    share = log_shares.exp().clamp(min=SMALLEST_SHARE)
    alphas = share.mean(0)
    mus = (share * means).mean(0) / alphas
    spread = deviations.square() + (means - mus).square()
    return AthenaOutputs(mus, ((share * spread).mean(0) / alphas).log(), alphas)


def _checked(bundle: Bundle) -> MixtureHead:
    """Return the head of a bundle that can be exported."""
    spec, head = bundle.spec, bundle.model.head
    target = spec.target
    wrong = ""
    if (spec.kind, spec.object, target) != ("response", "cluster", "log10_response"):
        wrong = f"a {spec.kind} of {spec.object}s, target {target}; needed: log10 R of clusters"
    elif type(head) is not MixtureHead or head.components != COMPONENTS:
        wrong = f"a {type(head).__name__}({head.config}); needed: a MixtureHead of 3 components"
    elif bundle.inputs.names != FEATURE_NAMES:
        wrong = f"inputs {', '.join(bundle.inputs.names)}; needed: {', '.join(FEATURE_NAMES)}"
    if wrong or not isinstance(head, MixtureHead):
        msg = f"{bundle.path}: '{spec.name}' is not what the Athena tool can read: {wrong}"
        raise ConfigError(msg)
    return head


def _content(
    bundle: Bundle, head: MixtureHead, members: Members, *, draws: Draws, raw_inputs: bool
) -> bytes:
    graph = Graph()
    features = add_transforms(graph, bundle.inputs, "features") if raw_inputs else "features"
    raw = [add_network(graph, network, features) for network in members.networks]
    parts = add_components(graph, raw)
    if len(raw) > 1:
        parts = parts if members.aligned else add_order(graph, parts)
        parts = add_moments(graph, parts)
    mus, variances, alphas = parts
    scaled = graph.op("Mul", mus, graph.constant(head.scale))
    log_variances = variances if len(raw) == 1 else graph.op("Log", variances)
    results = {
        "mus": graph.op("Add", scaled, graph.constant(head.shift)),
        "sigmas": graph.op("Add", log_variances, graph.constant(2.0 * math.log(head.scale))),
        "alphas": alphas,
    }
    return graph.finished(
        features=len(FEATURE_NAMES),
        outputs=results,
        width=COMPONENTS,
        notes=_notes(bundle, len(raw), draws=draws, raw_inputs=raw_inputs),
    )


def _notes(bundle: Bundle, members: int, *, draws: Draws, raw_inputs: bool) -> dict[str, str]:
    return {
        "hepcalib": hepcalib.__version__,
        "bundle": bundle.spec.name,
        "bundle_sha256": bundle.sha256,
        "draws": f"{draws}: {members}",
        "features": json.dumps(list(bundle.inputs.names)),
        "raw_inputs": json.dumps(raw_inputs),
        "outputs": "mus: of log10(measured / true energy); sigmas: ln of variances; alphas: shares",
    }


def _compare(bundle: Bundle, content: bytes, *, draws: Draws, raw_inputs: bool) -> None:
    """Refuse a graph that does not give what the model gives."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(MISSING) from error
    raw = probe(bundle.inputs)
    batch = bundle.inputs(raw)
    features = np.asarray((raw if raw_inputs else batch).features)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    seen = session.run(list(AthenaOutputs._fields), {"features": features})
    wanted = athena_outputs(bundle, batch, draws=draws)
    scale = _checked(bundle).scale
    for name, got, expected in zip(AthenaOutputs._fields, seen, wanted, strict=True):
        worst = _unlike(got, expected.cpu().numpy(), unit=scale if name == "mus" else 1.0)
        if not worst <= TOLERANCE:
            msg = (
                f"{bundle.path}: the graph of a {type(bundle.model).__name__} differs from the "
                f"model in '{name}' by {worst:.2g}, allowed is {TOLERANCE}; it cannot be exported"
            )
            raise ConfigError(msg)


def _unlike(seen: NDArray[np.float32], expected: NDArray[np.float64], *, unit: float) -> float:
    """Return the largest difference, relative to the number or its unit; NaN if one is NaN."""
    return float(np.max(np.abs(seen - expected) / np.maximum(np.abs(expected), unit), initial=0.0))
