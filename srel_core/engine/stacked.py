"""Steps on many samples at once, with stacked weights: a few large products for all of them.

The operations of a model are run one after another on values (S, I, ...), S the samples and I the
inputs; before the first layer whose weight moves, on (I, ...). A linear or convolution layer is one
batched product of matrices (`srel_core.engine.layers.kinds.stacked_matrices`), an elementwise
operation or a pooling is called as it is, and any other is mapped over samples. How many operations
are launched does not depend on how many samples there are, which is what counts on a GPU.
"""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import vmap
from torch.nn import functional as F

from srel_core.engine.layers.gradient_pass import loss_gradients
from srel_core.engine.layers.kinds.registry import is_known, kind_of
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.propagation.graph import trace
from srel_core.engine.propagation.operations import evaluate, operation_of
from srel_core.engine.setup.problem import Problem
from srel_core.rules import Rule, change_of, is_by_number

ELEMENTWISE = {
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity, nn.Dropout,
    F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.softplus, F.dropout, F.tanh, F.sigmoid,
    torch.relu, torch.tanh, torch.sigmoid, torch.exp, torch.square, operator.neg,
    "relu", "relu_", "tanh", "sigmoid", "exp", "square",
}  # fmt: skip
OF_TWO = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul,
    operator.truediv, torch.add, torch.sub, torch.mul, "add", "add_", "sub", "sub_", "mul", "mul_",
}  # fmt: skip
POOLS = {
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
}  # fmt: skip
SHAPES = {"size", "dim", "numel", getattr}

Stacks = Mapping[str, Tensor]
"""By name the weights of layers in matrix form, (S, outputs, reads), and biases, (S, outputs)."""


class StackedModel:
    """A model's operations on the values of many samples at once.

    `matrices` has by name the matrix form of each layer that a step moves. CannotApplyError where
    the operations cannot be followed.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.graph = problem, trace(problem.model)
        layers = {
            name: layer
            for name, layer in problem.model.named_modules()
            if is_known(layer) and any(p.requires_grad for p in layer.parameters(recurse=False))
        }
        self.matrices = {name: kind_of(layer).stacked(layer) for name, layer in layers.items()}
        self.start = {f"{name}.weight": form.weight for name, form in self.matrices.items()} | {
            f"{name}.bias": layer.bias.detach()
            for name, layer in layers.items()
            if layer.bias is not None
        }
        self._moving = [name for name in self.start if name in problem.weights]
        self._at_start = torch.cat([self.start[name].flatten() for name in self._moving])

    def changes(self, rule: Rule, x: Tensor, y: Tensor, max_bytes: int) -> Tensor:
        """f_{w⁺(x_i)} − f_w at all inputs, (S, I, C) in float64, for samples x (S, ...)."""
        at = loss_gradients(self.problem, x, y)
        at_a_time, after = self._inputs_within(max_bytes // 2, at), []
        stepped = self._stepped(rule, at)
        with torch.no_grad():
            for inputs in self.problem.inputs.split(at_a_time):
                # a copy: a model may write to its input
                predictions = _Run(self, stepped).run(inputs.clone())
                after.append(predictions.double().expand(len(x), -1, -1))
        return torch.cat(after, 1) - self.problem.before.double()

    def _inputs_within(self, max_bytes: int, at: PerSampleGradients) -> int:
        """How many inputs to predict at a time: a layer's columns, what they are made from and
        what it gives are there at once."""
        numbers = max(
            form.columns_of(at.inputs[name].shape[1:])
            + 2 * at.output_gradients[name].shape[1:].numel()
            for name, form in self.matrices.items()
        )
        of_input = len(at) * numbers * self._at_start.element_size()
        return max(1, max_bytes // of_input)

    def _stepped(self, rule: Rule, at: PerSampleGradients) -> Stacks:
        """The layers that move, after the step on each sample."""
        n = len(at)
        together = self._at_start.new_empty(n, len(self._at_start))
        gradients = self._by_name(together)
        for name, form in self.matrices.items():
            if (out := gradients.get(f"{name}.weight")) is not None:
                form.write_gradient(at.inputs[name], at.output_gradients[name], out)
            if (out := gradients.get(f"{name}.bias")) is not None:
                out.copy_(form.bias_gradient(at.output_gradients[name]))
        if is_by_number(rule):  # these look at each number by itself
            together.copy_(rule.change("", self._at_start, together)).add_(self._at_start)
            moved = gradients  # written over
        else:
            moved = {name: self._one_by_one(rule, name, of) for name, of in gradients.items()}
        resting = {k: w.expand(n, *w.shape) for k, w in self.start.items() if k not in moved}
        return moved | resting

    def _one_by_one(self, rule: Rule, name: str, gradients: Tensor) -> Tensor:
        """Weights after the step along each gradient by a rule that is handed whole tensors."""
        own = self.problem.weights[name]
        steps = [change_of(rule, name, own, gradient.reshape(own.shape)) for gradient in gradients]
        return self.start[name] + torch.stack(steps).view_as(gradients)

    def _by_name(self, together: Tensor) -> dict[str, Tensor]:
        """What moves, (S, numbers), as views by name in matrix form."""
        sizes = [self.start[name].numel() for name in self._moving]
        parts = zip(self._moving, together.split(sizes, 1), strict=True)
        return {name: part.view(-1, *self.start[name].shape) for name, part in parts}


class _Run(fx.Interpreter):
    """Runs the operations once; `stacked` are those whose values (S, I, ...) differ among samples,
    in place of (I, ...)."""

    def __init__(self, model: StackedModel, stepped: Stacks) -> None:
        super().__init__(model.problem.model, graph=model.graph)
        self.matrices, self.stepped = model.matrices, stepped
        self.stacked: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        moved = [used for used in n.all_input_nodes if used in self.stacked]
        if n.op == "output":
            value = self.env[n.all_input_nodes[0]]
            return value if moved else value[None]
        if n.op == "call_module" and n.target in self.matrices:
            value = self.env[n.all_input_nodes[0]]
            self.stacked.add(n)
            weights, biases = (
                self.stepped[f"{n.target}.weight"],
                self.stepped.get(f"{n.target}.bias"),
            )
            form = self.matrices[n.target]
            return form.output(weights, biases, value if moved else value[None])
        if not moved:
            return super().run_node(n)
        operation = operation_of(n, self.module)
        if operation in SHAPES:
            of_one = self._evaluate(n, {used: self.env[used][0] for used in moved})
            if not isinstance(of_one, Tensor):  # as the attribute .mT is
                return of_one
        self.stacked.add(n)
        return self._of_samples(n, operation, moved)

    def _of_samples(self, n: fx.Node, operation: Any, moved: list[fx.Node]) -> Tensor:
        """An operation on values that differ among samples."""
        values = {used: self.env[used] for used in moved}
        if len(moved) == len(n.all_input_nodes):
            alike = len({value.shape for value in values.values()}) == 1
            if operation in ELEMENTWISE or (operation in OF_TWO and alike):
                return self._evaluate(n, values)
            (value, *others) = values.values()
            if operation in POOLS and not others and value.ndim == 5:
                maps = value.transpose(1, 2)  # as they lie in memory
                pooled = self._evaluate(n, {moved[0]: maps.flatten(0, 1)})
                return pooled.unflatten(0, maps.shape[:2]).transpose(1, 2)

        def of_one(*of_sample: Tensor) -> Any:
            return self._evaluate(n, dict(zip(moved, of_sample, strict=True)))

        return vmap(of_one)(*values.values())

    def _evaluate(self, n: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        """The operation with these values, and those of the run where none are given."""
        return evaluate(n, self.module, lambda used: values.get(used, self.env[used]))
