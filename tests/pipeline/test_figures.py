from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matplotlib.figure import Figure

from hepcalib import plots
from hepcalib.pipeline.figures import save_figures
from hepcalib.pipeline.folder import OutputFolder

if TYPE_CHECKING:
    from pathlib import Path


def figure(number: int) -> Figure:
    with plots.style():
        made = Figure()
        made.subplots().plot([0, 1], [0, number])
    return made


def failing() -> Figure:
    made = figure(1)
    made.axes[0].set_xlabel("$\\unknown{x}$")
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_figure_costs_no_other(tmp_path: Path, workers: int) -> None:
    unpicklable = figure(9)
    unpicklable.mine = lambda: None  # type: ignore[attr-defined]  # an attribute of its own
    figures = {f"f{n}": figure(n) for n in range(3)}
    figures |= {"bad": failing(), "local": unpicklable}
    folder = OutputFolder(tmp_path / "out")
    (complaint,) = save_figures(folder, figures, workers=workers)
    assert complaint.startswith("figure 'bad': ValueError: ")
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    names = ("f0", "f1", "f2", "local")
    assert drawn == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    OutputFolder(tmp_path / "out").examine()
    for n in range(3):
        for path in plots.save(figure(n), tmp_path / f"f{n}"):
            assert (tmp_path / "out" / "figures" / path.name).read_bytes() == path.read_bytes()


def test_a_foreign_figure_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "f.png").write_text("mine")
    (complaint,) = save_figures(OutputFolder(tmp_path), {"f": figure(1)}, workers=1)
    assert "f.png: is not from hepcalib and will not be replaced" in complaint
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["f.png"]
    assert (tmp_path / "figures" / "f.png").read_text() == "mine"
