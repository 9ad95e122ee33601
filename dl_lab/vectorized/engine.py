"""Runs of one architecture as one computation: parameters, buffers and batches have a run axis in front, over which
torch.func.vmap maps the forward pass of a single run. Shapes below: R runs, P parameters of each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from dl_lab.core import devices, rng
from dl_lab.data.splits import Split
from dl_lab.dropouts.layers import Dropout
from dl_lab.training.state import Plan, TrainState
from dl_lab.training.tasks import Task, Totals
from dl_lab.vectorized.batches import Feed
from dl_lab.vectorized.member_state import Row, Tensors, flat_of, of_each_run, places_of, stacked, windows_of
from dl_lab.vectorized.optimizers import StackedOptimizer

LEAST_AT_ONCE = 50  # examples of each run in an evaluation


class StackedRuns:
    """Trains and evaluates runs that `together.key` finds alike, from the states that they are in.

    `flat` (R, P) holds every parameter; `window` the totals of each step since it was last emptied, each (R, ...).
    """

    def __init__(self, plans: Sequence[Plan], states: Sequence[TrainState]):
        self.plans, plan = list(plans), plans[0]
        self.device, self.step_number = plan.device, states[0].step
        self.model = deepcopy(states[0].model)  # what is computed; its own weights are not looked at
        self.names = [name for name, _ in self.model.named_parameters()]
        shapes = [parameter.shape for parameter in self.model.parameters()]
        self.shapes = shapes
        self.places = [slice(*ends) for ends in pairwise(accumulate((shape.numel() for shape in shapes), initial=0))]
        self.flat = torch.stack([flat_of(state) for state in states])
        self.buffers = stacked([dict(state.model.named_buffers()) for state in states])
        self.leaves = self._views(self.flat, gradients=True)
        self.dropouts = [(name, layer) for name, layer in self.model.named_modules() if isinstance(layer, Dropout)]
        self.originals = [*self.model.parameters(), *self.model.buffers()]
        self.slots = [places_of(self.model, tensor) for tensor in self.originals]
        self.numbers = self._numbers(states)
        self.optimizer = StackedOptimizer(
            plan.run.optimizer.entry.name,
            [each.run.optimizer.config for each in plans],
            list(zip(self.names, shapes, strict=True)),
            self.device,
            self.flat.dtype,
            plan.run.train.decay_biases,
        )
        for number, state in enumerate(states):
            if state.step:
                self.optimizer.from_torch(number, state.optimizer)
        keys = [repr((each.run.dataset.entry.name, each.run.dataset.config)) for each in plans]
        self.feed = Feed(keys, [each.data for each in plans], [each.seed for each in plans], self.device)
        self.window = windows_of(states)
        self.gradient = torch.zeros_like(self.flat)
        self.gradients = self._views(self.gradient)
        self.norms: Tensor | None = None

    def _views(self, flat: Tensor, gradients: bool = False) -> list[Tensor]:
        """Each parameter (R, *shape) of (R, P), in the same memory."""
        views = [flat[:, place].view(len(flat), *shape) for place, shape in zip(self.places, self.shapes, strict=True)]
        return [view.detach().requires_grad_() for view in views] if gradients else views

    def _numbers(self, states: Sequence[TrainState]) -> Tensors:
        """What one run has otherwise than another and the computation needs: (R, ...) each."""
        numbers: Tensors = {}
        plan = self.plans[0]
        dropped = [[layer.p for layer in state.model.modules() if isinstance(layer, Dropout)] for state in states]
        if any(row != dropped[0] for row in dropped):
            numbers["drop"] = self._precise(dropped)
        losses = [asdict(each.run.loss.config) for each in self.plans]
        for name in losses[0]:
            if any(loss[name] != losses[0][name] for loss in losses):
                numbers[f"loss.{name}"] = self._precise([loss[name] for loss in losses])
        for number, head in enumerate(plan.data.spec.heads):
            if head.task == "regression":
                centers = [each.data.spec.heads[number].center or (0.0,) * head.size for each in self.plans]
                numbers[f"center.{number}"] = self._precise(centers)
        data = [each.data for each in self.plans]
        if data[0].mean is not None:
            for name in ("mean", "std"):
                numbers[name] = torch.stack([getattr(each, name) for each in data])
        if plan.run.train.max_grad_norm is not None:
            numbers["max_norm"] = self._precise([each.run.train.max_grad_norm for each in self.plans])
        return numbers

    def _precise(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=devices.widest_dtype(self.device), device=self.device)

    def _run_one(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The objective () of one run, then its totals that are tensors; the others are the same for all. Takes what
        `_mapped` gives: parameters, buffers, numbers, inputs and targets, flat because vmap is slow with nests.
        """
        inputs, targets = tensors[-2:]
        given = len(self.slots)
        numbers = dict(zip(self.number_names, tensors[given:-2], strict=True))
        task, data = self._task(numbers), self.plans[0].data
        if data.mean is not None:
            data = replace(data, mean=numbers["mean"], std=numbers["std"])
        prepared = data.prepare(inputs, numbers.get("augmentation"))
        with self._holding(tensors[:given], numbers.get("drop")):
            outputs = devices.apply(self.model, prepared, self.device, self.plans[0].run.settings.precision)
        totals = task.totals(outputs, targets)
        self.counted = {name: value for name, value in totals.items() if not isinstance(value, Tensor)}
        of_run = {name: value.detach() for name, value in totals.items() if isinstance(value, Tensor)}
        self.total_names = list(of_run)
        return task.objective(totals, task.counts(targets)), *of_run.values()

    def _mapped(
        self, parameters: Sequence[Tensor], buffers: Tensors, numbers: Tensors, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Totals]:
        """The objectives (R,) and totals (R, ...) of all runs on a batch."""
        self.number_names = list(numbers)
        tensors = (*parameters, *buffers.values(), *numbers.values())
        axes = (0,) * len(tensors) + (self.feed.axis,) * 2
        objectives, *totals = vmap(self._run_one, axes)(*tensors, inputs, targets)
        return objectives, {**dict(zip(self.total_names, totals, strict=True)), **self.counted}

    def _task(self, numbers: Tensors) -> Task:
        """The task of one run, with what it has of its own."""
        task, loss = self.plans[0].task, self.plans[0].run.loss
        own = {name.removeprefix("loss."): value for name, value in numbers.items() if name.startswith("loss.")}
        centers = [numbers.get(f"center.{number}") for number in range(len(task.heads))]
        if not own and centers == [None] * len(centers):
            return task
        config = SimpleNamespace(**{**asdict(loss.config), **own}) if own else loss.config
        return task.with_tensors({head.task: loss.entry.build(config, head.task) for head in task.heads}, centers)

    @contextmanager
    def _holding(self, tensors: Sequence[Tensor], drop: Tensor | None) -> Iterator[None]:
        """Within it, the model has these parameters and buffers, and its dropouts the probabilities `drop` (layer,).
        torch.func.functional_call does the same, but looks for every place anew at every call.
        """
        own = [layer.p for _, layer in self.dropouts]
        for tensor, places in zip(tensors, self.slots, strict=True):
            for tensors_of_module, name in places:
                tensors_of_module[name] = tensor
        if drop is not None:
            for number, (_, layer) in enumerate(self.dropouts):
                layer.p = drop[number]
        try:
            yield
        finally:
            for original, places in zip(self.originals, self.slots, strict=True):
                for tensors_of_module, name in places:
                    tensors_of_module[name] = original
            for (_, layer), p in zip(self.dropouts, own, strict=True):
                layer.p = p

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """One step of every run, on a batch of each as the feed gives it."""
        numbers = dict(self.numbers)
        if self.dropouts:
            self.buffers[f"{self.dropouts[0][0]}.key"].copy_(self._keys("dropout"))
        if self.plans[0].data.augmentation is not None:
            numbers["augmentation"] = self._keys("augmentation").to(self.device)
        objectives, totals = self._mapped(self.leaves, self.buffers, numbers, inputs, targets)
        gradients = torch.autograd.grad(objectives.sum(), self.leaves)
        for place, gradient in zip(self.gradients, gradients, strict=True):
            place.copy_(gradient)
        self.norms = None
        if "max_norm" in numbers:
            self.norms = self.gradient.norm(dim=1)
            self.gradient *= (numbers["max_norm"].to(self.norms.dtype) / (self.norms + 1e-6)).clamp(max=1)[:, None]
        factors = torch.tensor([plan.schedule(self.step_number) for plan in self.plans], dtype=torch.float64)
        self.optimizer.step(self.flat, self.gradient, factors)
        self.window.append(totals)
        self.step_number += 1

    def _keys(self, stream: str) -> Tensor:
        """Each run's key (run, 2) for this step of a stream."""
        return rng.keys([plan.seed for plan in self.plans], stream, self.step_number)

    def gradient_norms(self) -> list[float]:
        """Of each run, the Euclidean norm of the last step's gradient before it was clipped."""
        norms: list[float] = (self.gradient.norm(dim=1) if self.norms is None else self.norms).tolist()
        return norms

    def summed_window(self) -> list[dict[str, list[float]]]:
        """Of each run, the totals since the window was last emptied."""
        return of_each_run(self.window, len(self.plans))

    def window_of(self, run: int) -> list[list[Totals]]:
        """The totals of each step since then, as the state of a single run keeps them."""
        return [
            [{name: value[run] if isinstance(value, Tensor) else value for name, value in totals.items()}]
            for totals in self.window
        ]

    @torch.no_grad()
    def evaluate(self, split: str, rows: Sequence[Row] | None = None) -> list[dict[str, float]]:
        """Metrics of each run over a split of its data, with the weights that it has or with those of `rows`."""
        leaves, buffers = self.leaves, self.buffers
        if rows is not None:
            leaves = self._views(torch.stack([row.flat for row in rows]))
            buffers = stacked([row.buffers for row in rows])
        splits: list[Split] = [getattr(data, split) for data in self.feed.data]
        at_once = max(LEAST_AT_ONCE, self.plans[0].eval_batch_size // len(self.plans))
        self.model.eval()
        found = [
            self._mapped(leaves, buffers, self.numbers, inputs, targets)[1]
            for inputs, targets in self.feed.everything(splits, at_once)
        ]
        self.model.train()
        pairs = zip(self.plans, of_each_run(found, len(self.plans)), strict=True)
        return [plan.task.metrics(totals) for plan, totals in pairs]

    def row(self, run: int) -> Row:
        """A run as it is now."""
        buffers = {name: buffer[run].clone() for name, buffer in self.buffers.items()}
        return Row(self.flat[run].clone(), buffers, self.optimizer.of_run(run))

    def settle(self, run: int, state: TrainState) -> None:
        """Put a run's own model and optimizer, gradients and window where its row of the stack is."""
        self.row(run).put_into(state)
        for parameter, gradient in zip(state.model.parameters(), self.gradients, strict=True):
            parameter.grad = gradient[run]
        state.window = self.window_of(run)

    def keep(self, runs: list[int]) -> None:
        """Go on with these runs alone."""
        rows = torch.tensor(runs)
        on_device = rows.to(self.device)
        self.plans = [self.plans[run] for run in runs]
        self.flat, self.gradient = self.flat[on_device], self.gradient[on_device]
        self.norms = None if self.norms is None else self.norms[on_device]
        self.leaves, self.gradients = self._views(self.flat, gradients=True), self._views(self.gradient)
        self.buffers = {name: buffer[on_device] for name, buffer in self.buffers.items()}
        self.numbers = {name: values[on_device] for name, values in self.numbers.items()}
        self.window = [
            {name: value[on_device] if isinstance(value, Tensor) else value for name, value in totals.items()}
            for totals in self.window
        ]
        self.optimizer.keep(rows)
        self.feed.keep(rows)
