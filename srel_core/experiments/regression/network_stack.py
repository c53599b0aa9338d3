"""Dense networks of several seeds as one: every weight has a leading seed axis R.

R networks of one shape are trained, and their S_rel measured, by one batched product per layer in
place of R small ones. Everything is in float64, with derivatives in closed form: with a_l what
layer l receives, z_l = W_l a_l + b_l and δ_l = ∂f/∂z_l, a step on (x, y) with loss ½(f(x) − y)²
has the gradients r δ_l a_lᵀ and r δ_l, r = f(x) − y. What it changes at another input is
propagated from layer to layer,

    Δz_l = W_l Δa_l + ΔW_l (a_l + Δa_l) + Δb_l,

and no prediction is ever subtracted from another: so S_rel is as exact when the residual is
1e-12 as when it is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from srel_core.engine.propagation import finite_differences
from srel_core.rules import SGD, Tangent

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Step(Protocol):
    """A step on each of P samples for each of R networks."""

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        """What it adds to a weight (R, ...), from gradients (R, P, ...), which it may use up."""
        ...


class Pass(NamedTuple):
    """One pass through all R networks at N inputs each.

    inputs[l] (R, N, fan_in) is a_l and preactivations[l] (R, N, fan_out) is z_l. After the inputs
    of the last layer comes the output of the network, (R, N, 1).
    """

    inputs: list[Tensor]
    preactivations: list[Tensor]

    @property
    def output(self) -> Tensor:
        """f, (R, N)."""
        return self.inputs[-1][..., 0]


@dataclass(frozen=True, eq=False)
class Stack:
    """R dense networks of one shape with one output, in float64.

    weights     (R, fan_out, fan_in) for each layer
    biases      (R, fan_out) for each layer, or () for none at all
    activation  "relu" or "tanh", after each layer but the last
    gated       whether the last layer has it too: of a single layer this is a ReLU gate
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: str = "relu"
    gated: bool = False

    @classmethod
    def of(cls, models: Sequence[nn.Sequential]) -> "Stack":
        """The stack of models made of `nn.Linear` and one kind of activation, all alike."""
        layers = [[m for m in model if isinstance(m, nn.Linear)] for model in models]
        alike = list(zip(*layers, strict=True))
        kinds = [n for n, t in _ACTIVATIONS.items() if any(isinstance(m, t) for m in models[0])]
        return cls(
            tuple(torch.stack([m.weight.detach() for m in same]).double() for same in alike),
            tuple(
                torch.stack([m.bias.detach() for m in same]).double()
                for same in alike
                if same[0].bias is not None
            ),
            kinds[0] if kinds else "relu",
            not isinstance(models[0][-1], nn.Linear),
        )

    def model(self, index: int) -> nn.Sequential:
        """One of the networks as a module of its own, with copies of its weights."""
        layers: list[nn.Module] = []
        for i, weight in enumerate(self.weights):
            _, fan_out, fan_in = weight.shape
            # Without first weights, which would move the global random numbers on.
            linear = nn.utils.skip_init(
                nn.Linear, fan_in, fan_out, bias=bool(self.biases), dtype=torch.float64
            )
            state = {"weight": weight[index]}
            if self.biases:
                state["bias"] = self.biases[i][index]
            linear.load_state_dict(state)
            layers += [linear, _ACTIVATIONS[self.activation]()]
        return nn.Sequential(*(layers if self.gated else layers[:-1]))

    def to(self, device: torch.device) -> "Stack":
        """The same networks on a device."""
        weights, biases = ([t.to(device) for t in of] for of in (self.weights, self.biases))
        return replace(self, weights=tuple(weights), biases=tuple(biases))

    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases]

    def forward(self, x: Tensor) -> Pass:
        """All networks at x (R, N, fan_in), each at inputs of its own."""
        inputs, preactivations = [x], []
        for i, weight in enumerate(self.weights):
            z = torch.bmm(inputs[-1], weight.mT)
            if self.biases:
                z += self.biases[i][:, None]
            preactivations.append(z)
            inputs.append(self._activation(z) if self._is_activated(i) else z)
        return Pass(inputs, preactivations)

    def output_gradients(self, at: Pass) -> list[Tensor]:
        """δ_l = ∂f/∂z_l for each layer l, (R, N, fan_out)."""
        output = at.inputs[-1]
        deltas = [self._derivative(output) if self.gated else torch.ones_like(output)]
        for weight, active in zip(self.weights[:0:-1], at.inputs[-2:0:-1], strict=True):
            deltas.append(torch.bmm(deltas[-1], weight) * self._derivative(active))
        return deltas[::-1]

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The gradients of each network's mean of ½(f(x) − y)² over x (R, N, fan_in), y (R, N): one
        tensor for each of `parameters`."""
        at = self.forward(x)
        residual = ((at.output - y) / y.shape[1])[..., None]
        loss_gradients = [residual * delta for delta in self.output_gradients(at)]
        by_weight = [
            torch.bmm(g.mT, a) for g, a in zip(loss_gradients, at.inputs[:-1], strict=True)
        ]
        return by_weight + [g.sum(1) for g in loss_gradients[: len(self.biases)]]

    def pair_changes(
        self, x: Tensor, y: Tensor, probes: Tensor, rule: Step | Tangent
    ) -> tuple[Tensor, Tensor]:
        """|Δf| at each probe after a step on its sample alone, and at the sample: (R, P) each.

        x, probes (R, P, fan_in) and y (R, P) are P pairs for each network; the loss of the step
        is ½(f(x) − y)². For `Tangent` both are per unit of learning rate, |Θ(x', x) r(x)| and
        Θ(x, x)|r(x)|.
        """
        at_x, at_probes = self.forward(x), self.forward(probes)
        deltas_x, residual = self.output_gradients(at_x), at_x.output - y
        if isinstance(rule, Tangent):
            passes = [(at_probes, self.output_gradients(at_probes)), (at_x, deltas_x)]
            kernels = [self._kernel(at, deltas, at_x, deltas_x) for at, deltas in passes]
            change, own = (kernel * residual for kernel in kernels)
        else:
            loss_gradients = [residual[..., None] * delta for delta in deltas_x]
            change, own = (
                self._change_by_a_step(at, at_x, loss_gradients, rule) for at in (at_probes, at_x)
            )
        return change.abs(), own.abs()

    def _kernel(self, at: Pass, deltas: list[Tensor], at_x: Pass, deltas_x: list[Tensor]) -> Tensor:
        """The tangent kernel of paired inputs, (R, P), layer by layer."""
        layers = zip(deltas, deltas_x, at.inputs[:-1], at_x.inputs[:-1], strict=True)
        bias = float(bool(self.biases))
        return torch.stack(
            [(d * d_x).sum(-1) * ((a * a_x).sum(-1) + bias) for d, d_x, a, a_x in layers]
        ).sum(0)

    def _change_by_a_step(
        self, at: Pass, at_x: Pass, loss_gradients: list[Tensor], rule: Step
    ) -> Tensor:
        """Δf (R, P) at inputs paired with the samples x that the step is taken on, from the
        gradients of the loss at z_l for each layer l."""
        layers = zip(
            self.weights,
            at.inputs[:-1],
            at_x.inputs[:-1],
            loss_gradients,
            at.preactivations,
            strict=True,
        )
        change = torch.zeros_like(at.inputs[0])
        for i, (weight, a, a_x, g, z) in enumerate(layers):
            change_z = torch.bmm(change, weight.mT)
            if isinstance(rule, SGD):  # ΔW = −η g aᵀ is of rank one: no need to write it out
                along = (a_x * (a + change)).sum(-1, keepdim=True) + float(bool(self.biases))
                change_z = change_z - rule.lr * g * along
            else:
                step = rule.change("weight", weight, g[..., None] * a_x[..., None, :])
                change_z = change_z + (step @ (a + change)[..., None])[..., 0]
                if self.biases:
                    change_z = change_z + rule.change("bias", self.biases[i], g.clone())
            change = self._activation_change(z, change_z) if self._is_activated(i) else change_z
        return change[..., 0]

    def _is_activated(self, layer: int) -> bool:
        return self.gated or layer < len(self.weights) - 1

    def _activation(self, z: Tensor) -> Tensor:
        return z.relu() if self.activation == "relu" else z.tanh()

    def _derivative(self, active: Tensor) -> Tensor:
        """φ'(z), from φ(z)."""
        return active.sign() if self.activation == "relu" else 1 - active * active

    def _activation_change(self, z: Tensor, change: Tensor) -> Tensor:
        """φ(z + Δz) − φ(z), without cancellation."""
        if self.activation == "relu":
            return finite_differences.ReluDifference(z)(change)
        return finite_differences.tanh_difference(z, change)
