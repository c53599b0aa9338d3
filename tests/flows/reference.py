"""Slow, independent roads to what the flows compute: the oracles of their tests."""

import numpy as np
from scipy.integrate import solve_ivp


def integrate(velocity, start, t):
    """The solution (T, *start.shape) of ẏ = velocity(y), y(0) = start, at increasing t > 0."""
    solution = solve_ivp(
        lambda _, y: velocity(y.reshape(start.shape)).ravel(),
        (0, t[-1]),
        start.ravel(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=t[-1] / 200,  # steps at the edge of stability would cost it its accuracy
    )
    return solution.y.T.reshape(-1, *start.shape)


def descend(velocity, start, end, n_steps):
    """Weights after `n_steps` steps of gradient descent that together last until `end`."""
    w = start.copy()
    for _ in range(n_steps):
        w = w + end / n_steps * velocity(w)
    return w


def relative_error(actual, expected):
    """Of whole vectors, the worst over the leading axis (time)."""
    actual, expected = (np.reshape(a, (len(a), -1)) for a in (actual, expected))
    return (np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


def order_of_descent(velocity, start, end, exact):
    """Error of descent with n steps over that with 2n: 2 for a first-order method."""
    errors = [np.linalg.norm(descend(velocity, start, end, n) - exact) for n in (400, 800)]
    return errors[0] / errors[1]


def tangent_s_rel(predict, gradient, w, probe, sample, eta=1e-7):
    """S_rel (m,) of a gradient step of size `eta` on the prediction at each sample itself.

    The derivative of the loss in the prediction scales the step alone, so it cancels.
    `predict(w, x)` → scalar, `gradient(w, x)` → ∂f_w(x)/∂w.
    """
    ratios = []
    for x_probe, x in zip(probe, sample, strict=True):
        step = eta * gradient(w, x)
        changes = [(predict(w + step, z) - predict(w - step, z)) / (2 * eta) for z in (x_probe, x)]
        ratios.append(abs(changes[0]) / abs(changes[1]))
    return np.array(ratios)


def gate_moments(w, teacher):
    """∇E[½(f_w − f_{w*})²] (p,) and the loss itself for one ReLU gate and x ~ N(0, I).

    Both depend on the component of x in the plane of w and w*: with x = ρ e(φ) there, the
    radial integral of ρ³ e^{−ρ²/2} is 2, and the rest is Gauss–Legendre between the kinks.
    """
    basis = np.linalg.qr(np.stack([teacher, w], axis=1))[0]
    inner, outer = basis.T @ w, basis.T @ teacher
    kinks = [np.arctan2(v[1], v[0]) + side * np.pi / 2 for v in (inner, outer) for side in (-1, 1)]
    edges = np.sort(np.mod(kinks, 2 * np.pi))
    edges = np.append(edges, edges[0] + 2 * np.pi)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    half = np.diff(edges)[:, None] / 2
    angle = (edges[:-1, None] + half * (nodes + 1)).ravel()
    weights = (half * weights).ravel()
    e = np.stack([np.cos(angle), np.sin(angle)])
    error = np.maximum(inner @ e, 0) - np.maximum(outer @ e, 0)
    gradient = basis @ ((weights * error * (inner @ e > 0)) @ e.T) / np.pi
    return gradient, 0.5 * (weights @ error**2) / np.pi
