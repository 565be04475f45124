"""ONNX graphs written node by node: what is in the file is what stands here, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.layers import DoubleSiLU, ShiftedTanh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MISSING", "Graph"]

# Of 2022: what the onnxruntime of the experiments' releases reads.
OPSET, IR_VERSION = 17, 8

MISSING = "writing ONNX needs onnx and onnxruntime: pip install 'hepcalib[onnx]'"


class Graph:
    """A graph in the making: each call adds a node and returns the name of its result.

    Raises:
        ConfigError: if onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            from onnx import helper, numpy_helper
        except ImportError as error:
            raise ConfigError(MISSING) from error
        self._helper, self._numpy = helper, numpy_helper
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[tuple[Any, ...], str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation with one result."""
        return self.ops(kind, *inputs, results=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """Add an operation with several results."""
        names = [f"{kind}_{len(self._nodes)}_{i}" for i in range(results)]
        self._nodes.append(self._helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add numbers; the same ones are written once."""
        array = np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"constant_{len(self._constants)}"
            self._constants.append(self._numpy.from_array(array, self._known[key]))
        return self._known[key]

    def linear(self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """Add x W^T + b: x (rows, inputs), weight (outputs, inputs), bias (outputs,)."""
        terms = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.op("Gemm", *terms, transB=1)

    def activation(self, x: str, module: nn.Module) -> str:
        """Add one of the activations of `models`.

        Raises:
            ConfigError: if it is another one.
        """
        add = _ACTIVATIONS.get(type(module))
        if add is None:
            known = ", ".join(kind.__name__ for kind in _ACTIVATIONS)
            msg = f"layer {module} has no counterpart in the graph; needed: Linear, {known}"
            raise ConfigError(msg)
        return add(self, x, module)

    def finished(
        self,
        *,
        features: int,
        outputs: Mapping[str, str],
        width: int,
        notes: Mapping[str, str],
    ) -> bytes:
        """Return the checked model as the bytes of a file.

        Args:
            features: Width of the input `features`, float32 [n, features].
            outputs: Name of each output, float32 [n, width], and the result that becomes it.
            width: Numbers per row of each output.
            notes: Texts for the metadata of the model.
        """
        import onnx

        for name, result in outputs.items():
            self._nodes.append(self._helper.make_node("Identity", [result], [name]))
        graph = self._helper.make_graph(
            self._nodes,
            "hepcalib",
            [self._value("features", ("n", features))],
            [self._value(name, ("n", width)) for name in outputs],
            initializer=self._constants,
        )
        opset = self._helper.make_opsetid("", OPSET)
        model = self._helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="hepcalib"
        )
        self._helper.set_model_props(model, dict(notes))
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _value(self, name: str, shape: Iterable[str | int]) -> Any:
        from onnx import TensorProto

        sizes: Sequence[str | int] = list(shape)
        return self._helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


def _double_silu(graph: Graph, x: str, _: nn.Module) -> str:
    twice = graph.op("Mul", x, graph.constant(2.0))
    return graph.op("Mul", twice, graph.op("Sigmoid", x))


def _elu(graph: Graph, x: str, module: nn.Module) -> str:
    return graph.op("Elu", x, alpha=float(module.alpha))  # type: ignore[arg-type]  # of nn.ELU, a number


def _gelu(graph: Graph, x: str, _: nn.Module) -> str:
    error = graph.op("Erf", graph.op("Mul", x, graph.constant(math.sqrt(0.5))))
    half = graph.op("Mul", x, graph.constant(0.5))
    return graph.op("Mul", half, graph.op("Add", error, graph.constant(1.0)))


def _relu(graph: Graph, x: str, _: nn.Module) -> str:
    return graph.op("Relu", x)


def _shifted_tanh(graph: Graph, x: str, _: nn.Module) -> str:
    above = graph.op("Add", graph.op("Tanh", x), graph.constant(1.0))
    return graph.op("Mul", above, graph.constant(3.0))


def _silu(graph: Graph, x: str, _: nn.Module) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", x))


def _tanh(graph: Graph, x: str, _: nn.Module) -> str:
    return graph.op("Tanh", x)


_ACTIVATIONS: Mapping[type[nn.Module], Callable[[Graph, str, nn.Module], str]] = {
    DoubleSiLU: _double_silu,
    nn.ELU: _elu,
    nn.GELU: _gelu,
    nn.ReLU: _relu,
    ShiftedTanh: _shifted_tanh,
    nn.SiLU: _silu,
    nn.Tanh: _tanh,
}
