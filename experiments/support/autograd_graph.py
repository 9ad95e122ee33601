"""The graph that autograd traverses, from a loss to the leaves."""

from collections.abc import Mapping

from torch import Tensor


def walk(loss: Tensor, leaves: Mapping[str, Tensor]) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """A position (x, y) for each function by name, below all functions that pass it a gradient, and the edges.

    Leaves have the given names; a function is named after its operation and a number.
    """
    named = {id(tensor): name for name, tensor in leaves.items()}
    depths, names, edges, waiting = {loss.grad_fn: 0}, {}, {}, [loss.grad_fn]
    while waiting:
        function = waiting.pop(0)
        operation = f"{function.name().removesuffix('Backward0')} {len(names) + 1}"
        # the node of a leaf refers to the tensor as `variable`
        names.setdefault(function, named.get(id(getattr(function, "variable", None)), operation))
        for below in (below for below, _ in function.next_functions if below is not None):
            edges[function, below] = True
            if depths.get(below, -1) <= depths[function]:
                depths[below] = depths[function] + 1
                waiting.append(below)
    rows = {depth: [function for function in depths if depths[function] == depth] for depth in depths.values()}
    places = {
        names[function]: (place - (len(row) - 1) / 2, -float(depth))
        for depth, row in rows.items()
        for place, function in enumerate(row)
    }
    return places, [(names[start], names[end]) for start, end in edges]
