"""Runs of one architecture as one computation: parameters, buffers and batches have a run axis in front, and
torch.func.vmap maps the forward pass of a single run over it. Shapes: R runs of P parameters each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from dl_lab.core import devices, rng
from dl_lab.data.splits import Split
from dl_lab.dropouts.layers import Dropout
from dl_lab.training.loop import apply
from dl_lab.training.state import Plan, TrainState
from dl_lab.training.tasks.task import Task
from dl_lab.training.tasks.totals import Totals
from dl_lab.vectorized.batches import StackedBatches
from dl_lab.vectorized.member_state import MemberState, Tensors, parameters_of, stacked, stacked_windows, sums_by_run
from dl_lab.vectorized.optimizers import StackedOptimizer

LEAST_AT_ONCE = 50  # examples of each run in a batch of an evaluation


def places_of(model: nn.Module, tensor: Tensor) -> list[tuple[dict[str, Any], str]]:
    """Where a model holds a parameter or buffer: in several places if it is shared."""
    tables = [table for module in model.modules() for table in (module._parameters, module._buffers)]
    return [(table, name) for table in tables for name, own in table.items() if own is tensor]


class StackedRuns:
    """Trains and evaluates runs that `loop.configuration_key` and `loop.prepared_key` find alike.

    `flat` (R, P) holds every parameter. `window` holds the totals (R, ...) of every step since it was last emptied.
    """

    def __init__(self, plans: Sequence[Plan], states: Sequence[TrainState]):
        self.plans, plan = list(plans), plans[0]
        self.device, self.step_number = plan.device, states[0].step
        self.model = deepcopy(states[0].model)  # defines the computation; its own weights are not used
        self.names = [name for name, _ in self.model.named_parameters()]
        shapes = [parameter.shape for parameter in self.model.parameters()]
        self.shapes = shapes
        self.places = [slice(*ends) for ends in pairwise(accumulate((shape.numel() for shape in shapes), initial=0))]
        self.flat = torch.stack([parameters_of(state) for state in states])
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
        self.batches = StackedBatches(keys, [each.data for each in plans], [each.seed for each in plans], self.device)
        self.window = stacked_windows(states)
        self.gradient = torch.zeros_like(self.flat)
        self.gradients = self._views(self.gradient)
        self.norms: Tensor | None = None

    def _views(self, flat: Tensor, gradients: bool = False) -> list[Tensor]:
        """View `flat` (R, P) as one tensor (R, *shape) per parameter, in the same memory."""
        views = [flat[:, place].view(len(flat), *shape) for place, shape in zip(self.places, self.shapes, strict=True)]
        return [view.detach().requires_grad_() for view in views] if gradients else views

    def _numbers(self, states: Sequence[TrainState]) -> Tensors:
        """The numbers (R, ...) in which the runs differ and which the computation needs."""
        numbers: Tensors = {}
        plan = self.plans[0]
        dropped = [[layer.p for layer in state.model.modules() if isinstance(layer, Dropout)] for state in states]
        if any(row != dropped[0] for row in dropped):
            numbers["drop"] = self._precise(dropped)
        losses = [asdict(each.run.loss.config) for each in self.plans]
        of_classes = plan.task.class_weights
        for head in of_classes:
            numbers[f"class_weights.{head}"] = torch.stack([each.task.class_weights[head] for each in self.plans])
        for name in losses[0]:
            if not (name == "class_weights" and of_classes) and any(loss[name] != losses[0][name] for loss in losses):
                numbers[f"loss.{name}"] = self._precise([loss[name] for loss in losses])
        data = [each.data for each in self.plans]
        if data[0].mean is not None:
            for name in ("mean", "std"):
                numbers[name] = torch.stack([getattr(each, name) for each in data])
        if plan.run.train.max_grad_norm is not None:
            numbers["max_norm"] = self._precise([each.run.train.max_grad_norm for each in self.plans])
        return numbers

    def _precise(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=devices.widest_dtype(self.device), device=self.device)

    def _run_one(self, number_names: tuple[str, ...], evaluating: bool, *tensors: Tensor) -> tuple[Tensor, Tensors]:
        """Return one run's scalar loss, or its outputs if `evaluating`, and its tensor totals. `tensors` are the
        parameters, buffers, numbers, inputs and targets as `_mapped` lists them; nested arguments would make vmap slow.
        """
        inputs, targets = tensors[-2:]
        given = len(self.slots)
        numbers = dict(zip(number_names, tensors[given:-2], strict=True))
        task, data = self._task(numbers), self.plans[0].data
        if data.mean is not None:
            data = replace(data, mean=numbers["mean"], std=numbers["std"])
        prepared = data.prepare(inputs, numbers.get("augmentation"))
        with self._holding(tensors[:given], numbers.get("drop")):
            outputs = apply(self.model, self.plans[0], prepared)
        totals = task.totals(outputs, targets, evaluating)
        of_run = {name: value.detach() for name, value in totals.items() if isinstance(value, Tensor)}
        return outputs if evaluating else task.objective(totals, task.counts(targets)), of_run

    def _mapped(
        self,
        parameters: Sequence[Tensor],
        buffers: Tensors,
        numbers: Tensors,
        inputs: Tensor,
        targets: Tensor,
        evaluating: bool = False,
    ) -> tuple[Tensor, Totals]:
        """Return the losses (R,), or the outputs (R, batch, ...) if `evaluating`, and totals (R, ...) of all runs on a
        batch.
        """
        tensors = (*parameters, *buffers.values(), *numbers.values())
        axes = (0,) * len(tensors) + (self.batches.axis,) * 2
        results, totals = vmap(partial(self._run_one, tuple(numbers), evaluating), axes)(*tensors, inputs, targets)
        of_one_run = targets if self.batches.axis is None else targets[0]
        return results, {**totals, **self.plans[0].task.sizes(of_one_run)}

    def _task(self, numbers: Tensors) -> Task:
        """The task of one run, with its own numbers."""
        task, loss = self.plans[0].task, self.plans[0].run.loss
        own = {name.removeprefix("loss."): value for name, value in numbers.items() if name.startswith("loss.")}
        class_weights = {head: numbers[f"class_weights.{head}"] for head in task.class_weights}
        losses = task.losses
        if own:
            config = SimpleNamespace(**{**asdict(loss.config), **own})
            losses = {head.task: loss.entry.build(config, head.task) for head in task.heads}
        return task.with_numbers(losses, class_weights) if own or class_weights else task

    @contextmanager
    def _holding(self, tensors: Sequence[Tensor], drop: Tensor | None) -> Iterator[None]:
        """Give the model these parameters and buffers, and its dropout layers the probabilities `drop` (layer,), for
        the duration of the context. torch.func.functional_call does the same, but searches all modules at every call.
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
        """One step of every run, on a batch of each."""
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
        """The Euclidean norm of each run's last gradient before clipping."""
        norms: list[float] = (self.gradient.norm(dim=1) if self.norms is None else self.norms).tolist()
        return norms

    def summed_window(self) -> list[dict[str, list[float]]]:
        """The totals of each run since the window was last emptied."""
        return sums_by_run(self.window, len(self.plans))

    def window_of(self, run: int) -> list[list[Totals]]:
        """The window of one run, as the state of a single run holds it."""
        return [
            [{name: value[run] if isinstance(value, Tensor) else value for name, value in totals.items()}]
            for totals in self.window
        ]

    @torch.no_grad()
    def evaluate(
        self,
        split: str,
        states: Sequence[MemberState] | None = None,
        at_end: bool = False,
        rows: Sequence[list[Tensor]] = (),
    ) -> list[dict[str, float]]:
        """Metrics of each run over a split of its data, with its current weights or those of `states`. Which of them
        depends on `at_end`, as in `training.loop.evaluate`; the list of each run in `rows` receives what its intervals
        are computed from.
        """
        leaves, buffers = self.leaves, self.buffers
        if states is not None:
            leaves = self._views(torch.stack([state.parameters for state in states]))
            buffers = stacked([state.buffers for state in states])
        splits: list[Split] = [getattr(data, split) for data in self.batches.data]
        at_once = max(LEAST_AT_ONCE, self.plans[0].eval_batch_size // len(self.plans))
        self.model.eval()
        found, gathered = [], []
        gathering = [plan.gathers(at_end) for plan in self.plans]
        for inputs, targets in self.batches.everything(splits, at_once):
            outputs, totals = self._mapped(leaves, buffers, self.numbers, inputs, targets, evaluating=True)
            found.append(totals)
            if any(gathering):
                gathered.append((outputs.cpu(), targets.cpu()))
            for run, collected in enumerate(rows):
                own_targets = targets if self.batches.axis is None else targets[run]
                collected.append(self.plans[run].task.interval_rows(outputs[run], own_targets))
        self.model.train()
        sums = sums_by_run(found, len(self.plans))
        metrics = [plan.task.metrics(own, evaluating=True) for plan, own in zip(self.plans, sums, strict=True)]
        for run in (run for run, gathers in enumerate(gathering) if gathers):
            of_run = [(outs[run], goals if self.batches.axis is None else goals[run]) for outs, goals in gathered]
            metrics[run] |= self.plans[run].task.gathered_metrics(*map(torch.cat, zip(*of_run, strict=True)))
        return metrics

    def member_state(self, run: int) -> MemberState:
        """A copy of a run's current state."""
        buffers = {name: buffer[run].clone() for name, buffer in self.buffers.items()}
        return MemberState(self.flat[run].clone(), buffers, self.optimizer.of_run(run))

    def write_to(self, run: int, state: TrainState) -> None:
        """Write a run's current state, gradients and window to its own model, optimizer and train state."""
        self.member_state(run).write_to(state)
        for parameter, gradient in zip(state.model.parameters(), self.gradients, strict=True):
            parameter.grad = gradient[run]
        state.window = self.window_of(run)

    def select(self, runs: list[int]) -> None:
        """Keep only these runs."""
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
        self.batches.select(rows)
