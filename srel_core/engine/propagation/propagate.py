"""Change propagation: one-sample SGD steps pushed through the network as changes.

Predictions move by parts in a million, and the difference of two of them in float32 is rounding.
So the change Δh of every activation h is computed as such, from layer to layer. At a layer with
weights W, bias b and input h, a step of SGD on the sample that read a there, with slope δ at the
layer's output, moves the weights by ΔW = −η δ aᵀ (summed over the places a layer is used at), and

    Δz = W Δh + ΔW (h + Δh) + Δb = W Δh − η δ (a·(h + Δh) + 1):

products with the shared W for all samples at once, and a correction of rank one, or of as many as
there are places. Where these are many, ΔW is written out. Activations, pooling, sums and products
have exact formulas (`srel_core.engine.propagation.elementwise`); any other module is evaluated
twice in float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from srel_core.engine.layers import affine_change
from srel_core.engine.layers.sgd_steps import Steps
from srel_core.engine.propagation import elementwise, operations
from srel_core.engine.propagation.buffers import Room
from srel_core.engine.propagation.graph import Keeping
from srel_core.engine.setup.checks import rounding_of
from srel_core.engine.setup.inputs import to_model
from srel_core.engine.setup.memory import CACHE
from srel_core.engine.setup.problem import CannotApplyError, Problem

Deltas = dict[fx.Node, Tensor | None]
"""The change of what each operation gives, (n, I, ...); None where nothing has changed."""


# Steps to push through at a time, at most: later layers, whose changes are small, do with fewer and
# larger operations.
_TOGETHER = 8


class Propagation:
    """A model's operations at some inputs (I, ...), and the way of changes through them.

    `base` has what each operation gives before any step: computed in float64, so that rounding
    puts no unit at rest on the wrong side, and kept in the model's own precision. `ways` fills with
    how the step of each layer was applied, in words.
    """

    def __init__(self, problem: Problem, graph: fx.Graph, inputs: Tensor) -> None:
        exact = problem.precise or problem
        keeping = Keeping(exact.model, graph, problem.before.dtype)
        with torch.no_grad():
            self.before: Tensor = keeping.run(to_model(inputs, exact.before))
            # Tracing fixes what a model decides by anything but its input.
            like = problem.predict(problem.weights, inputs[:1])
        if (self.before[:1] - like).abs().max() > rounding_of(like):
            raise CannotApplyError("its operations are not the same at each call")
        self.base = keeping.kept
        self.ways: dict[str, str] = {}
        self.room = Room()
        self.nodes = list(graph.nodes)
        self.at_a_time = self._at_a_time()
        self.last_use = {used: node for node in self.nodes for used in node.all_input_nodes}
        self.kinds = {node: operations.kind_of(node, problem.model) for node in self.nodes}
        self.prepared = {
            node: made
            for node in self.nodes
            if (made := operations.prepared(node, self.kinds[node], self.base, problem.model))
            is not None
        }
        self.weights = {node: self._weights_of(node, problem) for node in self.nodes}

    @staticmethod
    def _weights_of(node: fx.Node, problem: Problem) -> dict[str, str]:
        """What moves in the layer that a node calls, by its name there: its name in the model."""
        name = str(node.target)
        if node.op != "call_module":
            return {}
        layer = problem.model.get_submodule(name)
        own = {short: f"{name}.{short}".lstrip(".") for short, _ in layer.named_parameters()}
        return {short: whole for short, whole in own.items() if whole in problem.weights}

    def changes(self, own: Problem, steps: Steps) -> Tensor:
        """f_{w⁺(x_i)} − f_w at the inputs, (n, I, C) in float64; `own` has modules to call."""
        with torch.no_grad():
            change = self._after(len(self.nodes), own, steps)[self.nodes[-1]]
        if change is None:
            change = self.before.new_zeros(steps.n, *self.before.shape)
        return change.double()

    def _at_a_time(self) -> list[int]:
        """Before each operation, the steps that this one and all after it may take together."""
        sizes = {n: v.nbytes for n, v in self.base.items() if isinstance(v, Tensor)}
        largest, fit = 1, []
        for node in reversed(self.nodes):
            largest = max(largest, *(sizes.get(n, 0) for n in (node, *node.all_input_nodes)))
            fit.append(min(_TOGETHER, max(1, CACHE // largest)))
        return fit[::-1]

    def _after(self, end: int, own: Problem, steps: Steps) -> Deltas:
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
                deltas[node] = affine_change.together(parts) if parts else None
        for node in self.nodes[start:end]:
            deltas[node] = _Change(self, own, steps, deltas).of(node)
            for used in node.all_input_nodes:
                if self.last_use[used] is node:
                    spent = deltas.pop(used)
                    if spent is not None and not _shared(spent, deltas.values()):
                        self.room.take_back(spent)
        return deltas


def _shared(change: Tensor, others: Iterable[Tensor | None]) -> bool:
    """Whether one of the others lies in the same memory."""
    memory = change.untyped_storage().data_ptr()
    return any(o is not None and o.untyped_storage().data_ptr() == memory for o in others)


@dataclass(frozen=True)
class _Change:
    """The change of what an operation gives, from the changes of its inputs and weights."""

    flow: Propagation
    own: Problem
    steps: Steps
    deltas: Deltas

    @property
    def base(self) -> Mapping[fx.Node, Any]:
        return self.flow.base

    def of(self, node: fx.Node) -> Tensor | None:
        if node.op == "placeholder":
            return None
        if node.op == "output":
            return self.deltas[node.all_input_nodes[0]]
        if node.op == "get_attr":  # a constant: weights that move are all of layers
            return None
        moved = [used for used in node.all_input_nodes if self.deltas[used] is not None]
        kind, weights, value = self.flow.kinds[node], self.flow.weights[node], self.base[node]
        if not (moved or weights) or isinstance(value, (int, torch.Size, torch.dtype)):
            return None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise CannotApplyError(f"{node} gives {type(value).__name__}, not real numbers")
        if kind in operations.LAYERS:
            return self._of_layer(node, weights)
        if len(moved) == 1:
            change = self._of_map(node, kind, moved[0])
            if change is not None:
                return change
        if (
            (kind in operations.SUMS or kind in operations.PRODUCTS)
            and len(node.args) == 2
            and not node.kwargs
        ):
            return self._of_two(node, kind in operations.SUMS)
        return self._by_subtraction(node, moved)

    def _of_map(self, node: fx.Node, kind: Any, used: fx.Node) -> Tensor | None:
        """Of an operation on one changed value; None for one without a formula."""
        delta = self._delta(used)
        if node in self.flow.prepared:
            return self.flow.prepared[node](delta, overwrite=self._own_memory(node, used))
        if kind is nn.Identity:
            return delta
        if kind in operations.LINEAR:
            return elementwise.of_linear_map(lambda d: self._evaluate(node, {used: d}), delta)
        if kind in operations.POOLS:
            return elementwise.of_batched_map(lambda d: self._evaluate(node, {used: d}), delta)
        if kind in operations.ELEMENTWISE:
            return operations.ELEMENTWISE[kind](self.base[used], delta)
        return None

    def _of_layer(self, node: fx.Node, weights: dict[str, str]) -> Tensor:
        """Δz = W Δh + ΔW (h + Δh) + Δb, (n, I, ...)."""
        name, (used,) = str(node.target), node.all_input_nodes
        layer: Any = self.own.model.get_submodule(name)
        h, delta = self.base[used], self.deltas[used]
        factors = self.steps.factors(name) if "weight" in weights else None
        if factors is not None:
            (k, places), o = factors[0].shape[1:], factors[1].shape[1]
            if places == 1 or places * (k + o) < k * o:
                self.flow.ways[name] = f"step of rank {places}"
                with_bias, new = "bias" in weights, self.flow.room.new
                return affine_change.of_low_rank(layer, h, delta, *factors, with_bias, new)
        out = None
        if "weight" in weights:
            self.flow.ways[name] = "step written out"
            written = [self.steps.of_weight(weights["weight"], i) for i in range(self.steps.n)]
            out = affine_change.of_written_out(layer, h, delta, written)
        elif delta is not None:
            out = affine_change.through(layer, delta)
        if out is None:
            out = h.new_zeros(self.steps.n, *self.base[node].shape)
        if "bias" in weights:
            for i in range(self.steps.n):
                step = self.steps.of_weight(weights["bias"], i)
                out[i] += step if isinstance(layer, nn.Linear) else step[:, None, None]
        return out

    def _of_two(self, node: fx.Node, is_sum: bool) -> Tensor:
        """Of a sum, a difference or a product of two values, one of them a constant or both not."""
        f = (operations.SUMS if is_sum else operations.PRODUCTS)[self.flow.kinds[node]]
        a, b = ((self.base[v] if isinstance(v, fx.Node) else v) for v in node.args)
        of_a, of_b = (self.deltas[v] if isinstance(v, fx.Node) else None for v in node.args)
        change = (
            elementwise.of_sum(f, of_a, of_b)
            if is_sum
            else elementwise.of_product(f, a, b, of_a, of_b)
        )
        return change.expand(self.steps.n, *self.base[node].shape)

    def _by_subtraction(self, node: fx.Node, moved: list[fx.Node]) -> Tensor:
        """Of any other operation: evaluated twice in float64, where h and Δ are both exact."""
        exact = self.own.precise or self.own
        wide = {
            used: to_model(h, exact.before) if isinstance(h := self.base[used], Tensor) else h
            for used in node.all_input_nodes
        }

        def at(values: Mapping[fx.Node, Any]) -> Tensor:
            copies = {u: v.clone() if isinstance(v, Tensor) else v for u, v in values.items()}
            return self._evaluate(node, copies, exact.model)

        before, after = at(wide), []
        for i in range(self.steps.n):
            stepped = {used: wide[used] + self._delta(used)[i] for used in moved}
            after.append(at(wide | stepped) - before)
        return torch.stack(after).to(self.base[node].dtype)

    def _evaluate(
        self,
        node: fx.Node,
        values: Mapping[fx.Node, Any],
        model: nn.Module | None = None,
    ) -> Any:
        """The operation at these values of its inputs, the base's for those not given."""

        def value(given: Any) -> Any:
            return fx.map_arg(given, lambda used: values.get(used, self.base[used]))

        args, kwargs = value(node.args), value(node.kwargs)
        if node.op == "call_module":
            module = (model or self.own.model).get_submodule(str(node.target))
            return module(*args, **kwargs)
        if node.op == "call_method":
            name = "reshape" if node.target == "view" else str(node.target)
            return getattr(args[0], name)(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _own_memory(self, node: fx.Node, used: fx.Node) -> bool:
        """Whether the change of `used` may be overwritten by `node`: nobody else wants it, and no
        other change on its way lies in the same memory."""
        others = (change for other, change in self.deltas.items() if other is not used)
        return self.flow.last_use[used] is node and not _shared(self._delta(used), others)

    def _delta(self, node: fx.Node) -> Tensor:
        delta = self.deltas[node]
        assert delta is not None
        return delta
