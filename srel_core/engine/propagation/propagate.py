"""Change propagation: the changes that one-sample SGD steps make, pushed through the network.

Predictions move by parts in a million, and the difference of two of them in float32 is rounding.
So the change Δh of every activation h is computed as such, from layer to layer. At a layer with
weights W, bias b and input h, an SGD step on a sample whose input there is a, and whose gradient at
the layer's output is g, moves the weights by ΔW = −η g aᵀ (summed over the layer's positions), and

    Δz = W Δh + ΔW (h + Δh) + Δb = W Δh − η g (a·(h + Δh) + 1):

products with the shared W for all samples at once, and a correction whose rank is the number of
positions. Where these are many, ΔW is formed in full. Activations, pooling, sums and products have
exact finite differences (`srel_core.engine.propagation.finite_differences`); any other module is
evaluated twice in float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from srel_core.engine.layers import full_steps
from srel_core.engine.layers.kinds.kind import change_by_input
from srel_core.engine.layers.kinds.registry import kind_of
from srel_core.engine.layers.sgd_steps import SGDSteps
from srel_core.engine.propagation import finite_differences, operations
from srel_core.engine.propagation.buffers import BufferPool
from srel_core.engine.propagation.graph import ActivationRecorder
from srel_core.engine.setup.checks import rounding_of
from srel_core.engine.setup.inputs import to_model
from srel_core.engine.setup.memory import CACHE
from srel_core.engine.setup.problem import CannotApplyError, Problem

Deltas = dict[fx.Node, Tensor | None]
"""The change of what each operation gives, (n, I, ...); None where nothing has changed."""


# Steps to push through at a time, at most. Later layers, whose changes are small, take more at a
# time than the first ones, in fewer and larger operations.
_TOGETHER = 8


class Propagation:
    """A model's operations at some inputs (I, ...), and how changes pass through them.

    `activations` has what each operation gives before any step: computed in float64, so that
    rounding puts no unit on the wrong side of a threshold, and kept in the model's own precision.
    `descriptions` fills with how the step of each layer was applied, in words.
    """

    def __init__(self, problem: Problem, graph: fx.Graph, inputs: Tensor) -> None:
        exact = problem.precise or problem
        recorder = ActivationRecorder(exact.model, graph, problem.before.dtype)
        with torch.no_grad():
            self.before: Tensor = recorder.run(to_model(inputs, exact.before))
            # A trace has decided once for all what the model decides by anything but its input.
            like = problem.predict(problem.weights, inputs[:1])
        if (self.before[:1] - like).abs().max() > rounding_of(like):
            raise CannotApplyError("its operations are not the same at each call")
        self.activations = recorder.activations
        self.descriptions: dict[str, str] = {}
        self.buffers = BufferPool()
        self.nodes = list(graph.nodes)
        self.at_a_time = self._at_a_time()
        self.last_use = {used: node for node in self.nodes for used in node.all_input_nodes}
        self.operations = {
            node: operations.operation_of(node, problem.model) for node in self.nodes
        }
        self.layers = {node for node in self.nodes if operations.calls_layer(node, problem.model)}
        prepared = (
            (node, operations.prepared_difference(node, operation, self.activations, problem.model))
            for node, operation in self.operations.items()
        )
        self.prepared = {node: made for node, made in prepared if made is not None}
        self.weights = {node: self._weights_of(node, problem) for node in self.nodes}

    @staticmethod
    def _weights_of(node: fx.Node, problem: Problem) -> dict[str, str]:
        """The weights that move in the layer that a node calls: name there → in the model."""
        name = str(node.target)
        if node.op != "call_module":
            return {}
        layer = problem.model.get_submodule(name)
        own = {short: f"{name}.{short}".lstrip(".") for short, _ in layer.named_parameters()}
        return {short: whole for short, whole in own.items() if whole in problem.weights}

    def changes(self, own: Problem, steps: SGDSteps) -> Tensor:
        """f_{w⁺(x_i)} − f_w at the inputs, (n, I, C) in float64. `own` is the same problem with
        modules that this thread may call."""
        with torch.no_grad():
            change = self._after(len(self.nodes), own, steps)[self.nodes[-1]]
        if change is None:
            change = self.before.new_zeros(steps.n, *self.before.shape)
        return change.double()

    def _at_a_time(self) -> list[int]:
        """For each operation, how many steps it and all after it may take at a time."""
        sizes = {n: v.nbytes for n, v in self.activations.items() if isinstance(v, Tensor)}
        largest, fit = 1, []
        for node in reversed(self.nodes):
            largest = max(largest, *(sizes.get(n, 0) for n in (node, *node.all_input_nodes)))
            fit.append(min(_TOGETHER, max(1, CACHE // largest)))
        return fit[::-1]

    def _after(self, end: int, own: Problem, steps: SGDSteps) -> Deltas:
        """The changes that are still wanted after the first `end` operations.

        Operations whose changes are too large for all the steps are done for half of them, and
        then for the other half.
        """
        start = next((k for k in range(end) if self.at_a_time[k] >= steps.n), end)
        deltas: Deltas = {}
        if start:
            halves = [self._after(start, own, half) for half in steps.split(-(-steps.n // 2))]
            for node in halves[0]:
                parts = [change for half in halves if (change := half[node]) is not None]
                deltas[node] = full_steps.concatenated(parts) if parts else None
        for node in self.nodes[start:end]:
            deltas[node] = _Change(self, own, steps, deltas).of(node)
            for used in node.all_input_nodes:
                if self.last_use[used] is node:
                    spent = deltas.pop(used)
                    if spent is not None and not _shares_memory(spent, deltas.values()):
                        self.buffers.release(spent)
        return deltas


def _shares_memory(change: Tensor, others: Iterable[Tensor | None]) -> bool:
    """Whether one of the others lies in the same memory."""
    memory = change.untyped_storage().data_ptr()
    return any(o is not None and o.untyped_storage().data_ptr() == memory for o in others)


@dataclass(frozen=True)
class _Change:
    """The change of what an operation gives, from the changes of its inputs and weights.

    `own` has modules that this thread may call, and `deltas` the changes of what the operations
    before it give.
    """

    propagation: Propagation
    own: Problem
    steps: SGDSteps
    deltas: Deltas

    @property
    def activations(self) -> Mapping[fx.Node, Any]:
        return self.propagation.activations

    def of(self, node: fx.Node) -> Tensor | None:
        if node.op == "placeholder":
            return None
        if node.op == "output":
            return self.deltas[node.all_input_nodes[0]]
        if node.op == "get_attr":  # a constant: weights that move are all of layers
            return None
        moved = [used for used in node.all_input_nodes if self.deltas[used] is not None]
        operation, value = self.propagation.operations[node], self.activations[node]
        weights = self.propagation.weights[node]
        if not (moved or weights) or isinstance(value, (int, torch.Size, torch.dtype)):
            return None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise CannotApplyError(f"{node} gives {type(value).__name__}, not real numbers")
        if node in self.propagation.layers:
            return self._of_layer(node, weights)
        if len(moved) == 1:
            change = self._of_one(node, operation, moved[0])
            if change is not None:
                return change
        if (
            (operation in operations.SUMS or operation in operations.PRODUCTS)
            and len(node.args) == 2
            and not node.kwargs
        ):
            return self._of_two(node, operation in operations.SUMS)
        return self._by_subtraction(node, moved)

    def _of_one(self, node: fx.Node, operation: Any, used: fx.Node) -> Tensor | None:
        """Of an operation on one changed value; None for one without a formula."""
        delta = self._delta(used)
        if node in self.propagation.prepared:
            return self.propagation.prepared[node](delta, overwrite=self._own_memory(node, used))
        if operation is nn.Identity:
            return delta

        def evaluated(d: Tensor) -> Tensor:
            return self._evaluate(node, {used: d})

        if operation in operations.LINEAR:
            return finite_differences.linear_difference(evaluated, delta)
        if operation in operations.POOLS:
            return finite_differences.batched_linear_difference(evaluated, delta)
        if operation in operations.ELEMENTWISE:
            return operations.ELEMENTWISE[operation](self.activations[used], delta)
        return None

    def _of_layer(self, node: fx.Node, weights: dict[str, str]) -> Tensor:
        """Δz = W Δh + ΔW (h + Δh) + Δb, (n, I, ...)."""
        name, (used,) = str(node.target), node.all_input_nodes
        layer = self.own.model.get_submodule(name)
        kind, h, delta = kind_of(layer), self.activations[used], self.deltas[used]
        factors = self.steps.factors(name) if "weight" in weights else None
        if factors is not None:
            (k, positions), o = factors[0].shape[1:], factors[1].shape[1]
            if positions == 1 or positions * (k + o) < k * o:
                self.propagation.descriptions[name] = f"step of rank {positions}"
                with_bias, new = "bias" in weights, self.propagation.buffers.new
                return kind.change_by_low_rank_steps(layer, h, delta, *factors, with_bias, new)
        out = None
        if "weight" in weights:
            self.propagation.descriptions[name] = "step written out"
            full = [self.steps.of_weight(weights["weight"], i) for i in range(self.steps.n)]
            out = full_steps.change_by_full_steps(layer, h, delta, full)
        elif delta is not None:
            out = change_by_input(kind, layer, delta)
        if out is None:
            out = h.new_zeros(self.steps.n, *self.activations[node].shape)
        if "bias" in weights:
            for i in range(self.steps.n):
                step = self.steps.of_weight(weights["bias"], i)
                out[i] += kind.along_outputs(step)
        return out

    def _of_two(self, node: fx.Node, is_sum: bool) -> Tensor:
        """Of a sum, a difference or a product of two values, one of them a constant or both not."""
        f = (operations.SUMS if is_sum else operations.PRODUCTS)[self.propagation.operations[node]]
        a, b = ((self.activations[v] if isinstance(v, fx.Node) else v) for v in node.args)
        delta_a, delta_b = (self.deltas[v] if isinstance(v, fx.Node) else None for v in node.args)
        change = (
            finite_differences.sum_difference(f, delta_a, delta_b)
            if is_sum
            else finite_differences.product_difference(f, a, b, delta_a, delta_b)
        )
        return change.expand(self.steps.n, *self.activations[node].shape)

    def _by_subtraction(self, node: fx.Node, moved: list[fx.Node]) -> Tensor:
        """Of any other operation: evaluated twice in float64, where h and Δ are both exact."""
        exact = self.own.precise or self.own
        wide = {
            used: to_model(h, exact.before)
            if isinstance(h := self.activations[used], Tensor)
            else h
            for used in node.all_input_nodes
        }

        def at(values: Mapping[fx.Node, Any]) -> Tensor:
            copies = {u: v.clone() if isinstance(v, Tensor) else v for u, v in values.items()}
            return self._evaluate(node, copies, exact.model)

        before, after = at(wide), []
        for i in range(self.steps.n):
            stepped = {used: wide[used] + self._delta(used)[i] for used in moved}
            after.append(at(wide | stepped) - before)
        return torch.stack(after).to(self.activations[node].dtype)

    def _evaluate(
        self,
        node: fx.Node,
        values: Mapping[fx.Node, Any],
        model: nn.Module | None = None,
    ) -> Any:
        """The operation at these values of its inputs, or the activations where none is given."""

        def value_of(used: fx.Node) -> Any:
            return values.get(used, self.activations[used])

        return operations.evaluate(node, model or self.own.model, value_of)

    def _own_memory(self, node: fx.Node, used: fx.Node) -> bool:
        """Whether the change of `used` may be overwritten by `node`: no later operation reads it,
        and no other change that is still wanted lies in the same memory."""
        others = (change for other, change in self.deltas.items() if other is not used)
        return self.propagation.last_use[used] is node and not _shares_memory(
            self._delta(used), others
        )

    def _delta(self, node: fx.Node) -> Tensor:
        delta = self.deltas[node]
        assert delta is not None
        return delta
