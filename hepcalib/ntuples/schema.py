"""coffea schemas made from layouts: collections by counter, and every branch by its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from coffea.nanoevents import transforms
from coffea.nanoevents.methods import base, vector
from coffea.nanoevents.schemas.base import BaseSchema, zip_forms

from hepcalib.exceptions import NtupleError

if TYPE_CHECKING:
    from hepcalib.ntuples.layout import Layout

__all__ = ["LayoutSchema"]

_MOMENTUM = frozenset({"pt", "eta", "phi", "mass"})


class LayoutSchema(BaseSchema):  # type: ignore[misc]  # coffea is untyped
    """Schema of a layout; a child class names the layout.

    `events.Jet.pt` is grouped by the counter `nJet`; `events.Jet_pt` is the branch with the list
    lengths of its own, so that the two can be compared. All branches are virtual: read when
    touched.
    """

    layout: ClassVar[Layout]

    def __init__(self, base_form: dict[str, Any], version: str = "latest") -> None:  # noqa: ARG002 - coffea's signature
        super().__init__(base_form)
        columns = dict(zip(self._form["fields"], self._form["contents"], strict=True))
        for name, wanted in self.layout.schema_collections.items():
            prefix, counter = f"{name}_", columns.get(f"n{name}")
            members = {
                branch.removeprefix(prefix): form
                for branch, form in columns.items()
                if branch.startswith(prefix) and form["class"] == "ListOffsetArray"
            }
            if counter is None or not members:
                continue
            if not str(counter.get("primitive", "")).startswith(("int", "uint")):
                msg = (
                    f"counter 'n{name}' of the lists '{prefix}*' is "
                    f"{counter.get('primitive', counter['class'])}; needed: integers"
                )
                raise NtupleError(msg)
            has_momentum = members.keys() >= _MOMENTUM
            record = wanted if has_momentum or "Lorentz" not in wanted else "NanoCollection"
            offsets = transforms.counts2offsets_form(counter)
            collection = zip_forms(members, name, record, offsets)
            collection.setdefault("parameters", {})["collection_name"] = name
            columns[name] = collection
        self._form["fields"], self._form["contents"] = list(columns), list(columns.values())

    @classmethod
    def behavior(cls) -> dict[Any, Any]:
        """Return the behaviors of the records: collections and Lorentz vectors."""
        return {**base.behavior, **vector.behavior}
