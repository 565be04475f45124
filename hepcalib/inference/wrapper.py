"""A trained model in the place of coffea's `torch_wrapper`: called in the same way, no padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hepcalib.bundles import Bundle
from hepcalib.inference.handles import Handle
from hepcalib.inference.prediction import predict

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RaggedWrapper"]


class RaggedWrapper:
    """Calls a model on awkward arrays as `coffea.ml_tools.torch_wrapper` does, on ragged ones.

    As there, a child class overrides `prepare_awkward`, which turns the arguments of the call into
    those of the model: here the standard columns of clusters or jets, with constituents of any
    number. Without one, the call takes standard columns. An instance is small and can be pickled;
    each process loads the model once, whatever the number of instances and chunks.

    Args:
        bundle: Where the bundle is, its handle, or the bundle itself, which has to stay where it
            is on disk.
        options: Keywords of `predict`, such as device, block or precision.

    Raises:
        BundleError: if there is no bundle.
    """

    def __init__(self, bundle: Bundle | Handle | Path | str, **options: Any) -> None:
        if isinstance(bundle, Bundle):
            bundle = Handle(path=str(bundle.path), sha256=bundle.sha256)
        self.handle = bundle if isinstance(bundle, Handle) else Handle.of(bundle)
        self.options = options

    def prepare_awkward(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of `predict`: the standard columns, and keywords if need be."""
        return args, kwargs

    def postprocess_awkward(self, results: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the call returns, from the results and the arguments of the call."""
        del args, kwargs
        return results

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the prediction for each object, with the structure of the columns.

        Raises:
            DataError: if a column is missing, an input or a result is not finite.
            ShapeError: if columns have different lengths.
        """
        columns, keywords = self.prepare_awkward(*args, **kwargs)
        options: dict[str, Any] = {**self.options, **keywords}
        return self.postprocess_awkward(predict(self.handle, *columns, **options), *args, **kwargs)
