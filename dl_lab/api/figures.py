"""Figures of a run, which a notebook shows."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from dl_lab.plotting.figures import curves

if TYPE_CHECKING:
    import polars as pl


class Figures(dict[str, Figure]):
    """Figures by name. A notebook shows all of them; `figures["loss"].savefig("loss.png")` writes one."""

    def _repr_html_(self) -> str:
        images = []
        for name, figure in self.items():
            figure.savefig(content := BytesIO(), format="png", dpi=80)
            code = b64encode(content.getvalue()).decode()
            images.append(f'<img alt="{escape(name)}" src="data:image/png;base64,{code}">')
        return "".join(images)


def curves_of(metrics: "pl.DataFrame") -> Figures:
    """A curve of each metric that training or validation measured more than once."""
    figures = Figures()
    for name in metrics.columns:
        if name in ("step", "epoch", "split"):
            continue
        lines = {}
        for split in ("train", "val"):
            points = metrics.filter((metrics["split"] == split) & metrics[name].is_not_null())
            if len(points) > 1:
                lines[split] = (points["step"].to_numpy(), points[name].to_numpy())
        if lines:
            figures[name] = curves(lines, name, "step", name)
    return figures
