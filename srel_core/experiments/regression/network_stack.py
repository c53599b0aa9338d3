"""Dense networks of several seeds as one: every weight has a leading seed axis R.

R networks of one shape are trained, and their S_rel measured, by one batched product a layer in
place of R small ones. Everything is in float64, with derivatives in closed form: with a_l what
layer l receives, z_l = W_l a_l + b_l and δ_l = ∂f/∂z_l, a step on (x, y) with loss ½(f(x) − y)²
has the gradients r δ_l a_lᵀ and r δ_l, r = f(x) − y. What it changes at another input is
propagated from layer to layer,

    Δz_l = W_l Δa_l + ΔW_l (a_l + Δa_l) + Δb_l,

and no prediction is ever subtracted from another: so S_rel is as exact when the residual is
1e-12 as when it is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from srel_core.engine.propagation import elementwise
from srel_core.rules import SGD, Rule, Tangent

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Pass(NamedTuple):
    """One pass through all R networks at N inputs each.

    received[l] (R, N, fan_in) is a_l and sums[l] (R, N, fan_out) is z_l. After the last layer
    received has one more, the output; f (R, N).
    """

    received: list[Tensor]
    sums: list[Tensor]

    @property
    def output(self) -> Tensor:
        return self.received[-1][..., 0]


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

    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases]

    def forward(self, x: Tensor) -> Pass:
        """All networks at x (R, N, fan_in), each at inputs of its own."""
        received, sums = [x], []
        for i, weight in enumerate(self.weights):
            z = torch.bmm(received[-1], weight.mT)
            if self.biases:
                z += self.biases[i][:, None]
            sums.append(z)
            received.append(self._active(z) if self._activated(i) else z)
        return Pass(received, sums)

    def slopes(self, at: Pass) -> list[Tensor]:
        """δ_l = ∂f/∂z_l for each layer l, (R, N, fan_out)."""
        last = at.received[-1]
        slopes = [self._derivative(last) if self.gated else torch.ones_like(last)]
        for weight, active in zip(self.weights[:0:-1], at.received[-2:0:-1], strict=True):
            slopes.append(torch.bmm(slopes[-1], weight) * self._derivative(active))
        return slopes[::-1]

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Of each network's mean of ½(f(x) − y)² over x (R, N, fan_in), y (R, N): one tensor for
        each of `parameters`."""
        at = self.forward(x)
        pull = ((at.output - y) / y.shape[1])[..., None]
        pulled = [slope * pull for slope in self.slopes(at)]
        by_weight = [torch.bmm(p.mT, a) for p, a in zip(pulled, at.received[:-1], strict=True)]
        return by_weight + [p.sum(1) for p in pulled[: len(self.biases)]]

    def pair_changes(
        self, x: Tensor, y: Tensor, probes: Tensor, rule: Rule | Tangent
    ) -> tuple[Tensor, Tensor]:
        """|Δf| at each probe after a step on its sample alone, and at the sample: (R, P) each.

        x, probes (R, P, fan_in) and y (R, P) are P pairs for each network; the loss of the step
        is ½(f(x) − y)². For `Tangent` both are per unit of learning rate, |Θ(x', x) r(x)| and
        Θ(x, x)|r(x)|.
        """
        at_x, at_probes = self.forward(x), self.forward(probes)
        slopes, residual = self.slopes(at_x), at_x.output - y
        if isinstance(rule, Tangent):
            seen = [(at_probes, self.slopes(at_probes)), (at_x, slopes)]
            kernels = [self._kernel(at, own, at_x, slopes) for at, own in seen]
            change, own = (kernel * residual for kernel in kernels)
        else:
            pulled = [slope * residual[..., None] for slope in slopes]
            change, own = (self._moved(at, at_x, pulled, rule) for at in (at_probes, at_x))
        return change.abs(), own.abs()

    def _kernel(self, at: Pass, slopes: list[Tensor], at_x: Pass, slopes_x: list[Tensor]) -> Tensor:
        """The tangent kernel of paired inputs, (R, P), layer by layer."""
        parts = zip(slopes, slopes_x, at.received[:-1], at_x.received[:-1], strict=True)
        one = float(bool(self.biases))
        return torch.stack(
            [(s * s_x).sum(-1) * ((a * a_x).sum(-1) + one) for s, s_x, a, a_x in parts]
        ).sum(0)

    def _moved(self, at: Pass, at_x: Pass, pulled: list[Tensor], rule: Rule) -> Tensor:
        """Δf (R, P) at inputs paired with the samples x that the step is taken on."""
        delta = torch.zeros_like(at.received[0])
        for i, (weight, a, a_x, g, z) in enumerate(
            zip(self.weights, at.received[:-1], at_x.received[:-1], pulled, at.sums, strict=True)
        ):
            delta_z = torch.bmm(delta, weight.mT)
            if isinstance(rule, SGD):  # ΔW = −η g aᵀ is of rank one: no need to write it out
                along = (a_x * (a + delta)).sum(-1, keepdim=True) + float(bool(self.biases))
                delta_z = delta_z - rule.lr * g * along
            else:
                step = rule.change("weight", weight, g[..., None] * a_x[..., None, :])
                delta_z = delta_z + (step @ (a + delta)[..., None])[..., 0]
                if self.biases:
                    delta_z = delta_z + rule.change("bias", self.biases[i], g.clone())
            delta = self._active_change(z, delta_z) if self._activated(i) else delta_z
        return delta[..., 0]

    def _activated(self, layer: int) -> bool:
        return self.gated or layer < len(self.weights) - 1

    def _active(self, z: Tensor) -> Tensor:
        return z.relu() if self.activation == "relu" else z.tanh()

    def _derivative(self, active: Tensor) -> Tensor:
        """φ'(z), from φ(z)."""
        return active.sign() if self.activation == "relu" else 1 - active * active

    def _active_change(self, z: Tensor, delta: Tensor) -> Tensor:
        """φ(z + Δz) − φ(z), without cancellation."""
        if self.activation == "relu":
            return elementwise.OfRelu(z)(delta)
        return elementwise.of_tanh(z, delta)
