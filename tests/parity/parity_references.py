"""The recipes a second time: NumPy, float64, straight from the papers' equations.

Nothing here comes from optlab, so that a mistake would have to be made twice. A function has the
signature and the defaults of the recipe of its name, and returns a trajectory: a generator of the
parameters after each update. `learning_rate` and the other rates may be functions of the number of
updates done. Bias corrections are the papers' powers `1 - b**t`.
"""

from __future__ import annotations

import numpy as np


def at(value, t):
    """A rate at update t: a number, or a function of the t - 1 updates done before."""
    return value(t - 1) if callable(value) else value


def zeros(p):
    return {k: np.zeros_like(p[k]) for k in p}


def steps(p, gradient):
    """Pairs (t, gradient at the parameters as they are then)."""
    t = 0
    while True:
        t += 1
        yield t, gradient(p, t)


def everything(name):
    return True


def kernels(name):
    return name == "kernel"


def decaying(peak):
    return lambda count: peak / (1 + count / 10)


def divide(a, b):
    """a / b, and 0 for 0 / 0."""
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


def sgd(learning_rate, momentum=None, nesterov=False, *, dampening=0.0, l2=None, where=everything):
    def trajectory(p, gradient):
        buffer = {}
        for t, g in steps(p, gradient):
            for k in p:
                d = g[k]
                if l2 is not None and where(k):
                    d = d + at(l2, t) * p[k]
                if momentum is not None:
                    mu = at(momentum, t)
                    buffer[k] = mu * buffer[k] + (1 - dampening) * d if k in buffer else d
                    d = d + mu * buffer[k] if nesterov else buffer[k]
                p[k] = p[k] - at(learning_rate, t) * d
            yield p

    return trajectory


def adagrad(learning_rate, *, initial_accumulator_value=0.0, eps=1e-10, eps_root=0.0):
    def trajectory(p, gradient):
        total = {k: np.full_like(p[k], initial_accumulator_value) for k in p}
        for t, g in steps(p, gradient):
            for k in p:
                total[k] = total[k] + g[k] ** 2
                p[k] = p[k] - at(learning_rate, t) * divide(
                    g[k], np.sqrt(total[k] + eps_root) + eps
                )
            yield p

    return trajectory


def adadelta(learning_rate=1.0, rho=0.9, eps=1e-6):
    def trajectory(p, gradient):
        mean_g2, mean_d2 = zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            r = at(rho, t)
            for k in p:
                mean_g2[k] = r * mean_g2[k] + (1 - r) * g[k] ** 2
                delta = np.sqrt(mean_d2[k] + eps) / np.sqrt(mean_g2[k] + eps) * g[k]
                mean_d2[k] = r * mean_d2[k] + (1 - r) * delta**2
                p[k] = p[k] - at(learning_rate, t) * delta
            yield p

    return trajectory


def rmsprop(
    learning_rate,
    decay=0.9,
    eps=1e-8,
    *,
    eps_root=0.0,
    initial_scale=0.0,
    centered=False,
    momentum=None,
    nesterov=False,
    bias_correction=False,
):
    def trajectory(p, gradient):
        mean_g, buffer = zeros(p), zeros(p)
        mean_g2 = {k: np.full_like(p[k], initial_scale) for k in p}
        for t, g in steps(p, gradient):
            correction = 1 - decay**t if bias_correction else 1.0
            for k in p:
                mean_g[k] = decay * mean_g[k] + (1 - decay) * g[k]
                mean_g2[k] = decay * mean_g2[k] + (1 - decay) * g[k] ** 2
                v = mean_g2[k] / correction
                if centered:
                    v = np.maximum(v - (mean_g[k] / correction) ** 2, 0.0)
                d = g[k] / (np.sqrt(v + eps_root) + eps)
                if momentum is not None:
                    buffer[k] = momentum * buffer[k] + d
                    d = d + momentum * buffer[k] if nesterov else buffer[k]
                p[k] = p[k] - at(learning_rate, t) * d
            yield p

    return trajectory


def adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, *, eps_root=0.0):
    return adamw(learning_rate, b1, b2, eps, eps_root=eps_root, weight_decay=0.0)


def adamw(
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    *,
    eps_root=0.0,
    weight_decay=1e-4,
    where=everything,
    coupling="lr",
):
    def trajectory(p, gradient):
        m, v = zeros(p), zeros(p)
        product1 = product2 = 1.0  # b**t, also where b changes
        for t, g in steps(p, gradient):
            beta1, beta2 = at(b1, t), at(b2, t)
            product1, product2 = product1 * beta1, product2 * beta2
            lr, peak = at(learning_rate, t), at(learning_rate, 1)
            for k in p:
                m[k] = beta1 * m[k] + (1 - beta1) * g[k]
                v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
                u = m[k] / (1 - product1) / (np.sqrt(v[k] / (1 - product2) + eps_root) + eps)
                rate = {
                    "lr": lr,
                    "schedule": lr / peak,
                    "independent": 1.0,
                    "corrected": lr**2 / peak,
                    "cautious": lr * (u * p[k] >= 0),
                }[coupling]
                decay = rate * at(weight_decay, t) * p[k] if where(k) else 0.0
                p[k] = p[k] - lr * u - decay
            yield p

    return trajectory


def adamax(learning_rate, b1=0.9, b2=0.999, eps=1e-8):
    def trajectory(p, gradient):
        m, u = zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                u[k] = np.maximum(b2 * u[k], np.abs(g[k]) + eps)
                p[k] = p[k] - at(learning_rate, t) / (1 - b1**t) * m[k] / u[k]
            yield p

    return trajectory


def nadam(
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    *,
    eps_root=0.0,
    momentum_decay=0.004,
    convention="pytorch",
):
    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) if convention == "pytorch" else b1

    def trajectory(p, gradient):
        m, v = zeros(p), zeros(p)
        product = 1.0
        for t, g in steps(p, gradient):
            product *= mu(t)
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                v[k] = b2 * v[k] + (1 - b2) * g[k] ** 2
                m_hat = mu(t + 1) * m[k] / (1 - product * mu(t + 1))
                m_hat = m_hat + (1 - mu(t)) * g[k] / (1 - product)
                v_hat = v[k] / (1 - b2**t)
                p[k] = p[k] - at(learning_rate, t) * m_hat / (np.sqrt(v_hat + eps_root) + eps)
            yield p

    return trajectory


def radam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, *, convention="pytorch"):
    def trajectory(p, gradient):
        m, v = zeros(p), zeros(p)
        rho_inf = 2 / (1 - b2) - 1
        for t, g in steps(p, gradient):
            rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                v[k] = b2 * v[k] + (1 - b2) * g[k] ** 2
                d = m[k] / (1 - b1**t)
                if rho > (4 if convention == "paper" else 5):
                    r = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
                    if convention == "pytorch":
                        d = d * np.sqrt(r) * np.sqrt(1 - b2**t) / (np.sqrt(v[k]) + eps)
                    else:
                        d = d * np.sqrt(r) / (np.sqrt(v[k] / (1 - b2**t)) + eps)
                p[k] = p[k] - at(learning_rate, t) * d
            yield p

    return trajectory


def amsgrad(learning_rate, b1=0.9, b2=0.999, eps=1e-8, *, eps_root=0.0, convention="pytorch"):
    def trajectory(p, gradient):
        m, v, top = zeros(p), zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                v[k] = b2 * v[k] + (1 - b2) * g[k] ** 2
                if convention == "pytorch":
                    top[k] = np.maximum(top[k], v[k])
                    largest = top[k] / (1 - b2**t)
                else:
                    largest = top[k] = np.maximum(top[k], v[k] / (1 - b2**t))
                m_hat = m[k] / (1 - b1**t)
                p[k] = p[k] - at(learning_rate, t) * m_hat / (np.sqrt(largest + eps_root) + eps)
            yield p

    return trajectory


def adabelief(learning_rate, b1=0.9, b2=0.999, eps=1e-16, *, eps_root=1e-16):
    def trajectory(p, gradient):
        m, s = zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                s[k] = b2 * s[k] + (1 - b2) * (g[k] - m[k]) ** 2 + eps_root
                m_hat, s_hat = m[k] / (1 - b1**t), s[k] / (1 - b2**t)
                p[k] = p[k] - at(learning_rate, t) * m_hat / (np.sqrt(s_hat) + eps)
            yield p

    return trajectory


def yogi(learning_rate, b1=0.9, b2=0.999, eps=1e-3, *, initial_accumulator_value=1e-6):
    def trajectory(p, gradient):
        m = zeros(p)
        v = {k: np.full_like(p[k], initial_accumulator_value) for k in p}
        for t, g in steps(p, gradient):
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                v[k] = v[k] - (1 - b2) * np.sign(v[k] - g[k] ** 2) * g[k] ** 2
                m_hat, v_hat = m[k] / (1 - b1**t), v[k] / (1 - b2**t)
                p[k] = p[k] - at(learning_rate, t) * m_hat / (np.sqrt(v_hat) + eps)
            yield p

    return trajectory


def lion(learning_rate, b1=0.9, b2=0.99, *, weight_decay=1e-3, where=everything):
    def trajectory(p, gradient):
        m = zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                u = np.sign(b1 * m[k] + (1 - b1) * g[k])
                m[k] = b2 * m[k] + (1 - b2) * g[k]
                decay = at(weight_decay, t) * p[k] if where(k) else 0.0
                p[k] = p[k] - at(learning_rate, t) * (u + decay)
            yield p

    return trajectory


def lamb(
    learning_rate, b1=0.9, b2=0.999, eps=1e-6, *, eps_root=0.0, weight_decay=0.0, where=everything
):
    def trajectory(p, gradient):
        m, v = zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                m[k] = b1 * m[k] + (1 - b1) * g[k]
                v[k] = b2 * v[k] + (1 - b2) * g[k] ** 2
                r = m[k] / (1 - b1**t) / (np.sqrt(v[k] / (1 - b2**t) + eps_root) + eps)
                if where(k):
                    r = r + at(weight_decay, t) * p[k]
                size, length = np.sqrt(np.sum(p[k] ** 2)), np.sqrt(np.sum(r**2))
                ratio = size / length if size > 0 and length > 0 else 1.0
                p[k] = p[k] - at(learning_rate, t) * ratio * r
            yield p

    return trajectory


def lars(
    learning_rate,
    momentum=0.9,
    *,
    weight_decay=0.0,
    trust_coefficient=1e-3,
    eps=0.0,
    nesterov=False,
    where=everything,
    convention="paper",
):
    def trajectory(p, gradient):
        buffer = zeros(p)
        for t, g in steps(p, gradient):
            for k in p:
                decay = at(weight_decay, t)
                d = g[k]
                if where(k):
                    d = g[k] + decay * p[k]
                    size = np.sqrt(np.sum(p[k] ** 2))
                    if convention == "paper":
                        length = np.sqrt(np.sum(g[k] ** 2)) + decay * size
                    else:
                        length = np.sqrt(np.sum(d**2))
                    d = trust_coefficient * size / (length + eps) * d
                d = at(learning_rate, t) * d
                buffer[k] = momentum * buffer[k] + d
                p[k] = p[k] - (d + momentum * buffer[k] if nesterov else buffer[k])
            yield p

    return trajectory


def adafactor(
    learning_rate=None,
    *,
    decay_rate=0.8,
    clipping_threshold=1.0,
    multiply_by_parameter_scale=True,
    min_scale=1e-3,
    eps=1e-30,
    min_dim_size_to_factor=128,
    momentum=None,
    weight_decay=None,
    where=everything,
):
    def rms(x):
        return np.sqrt(np.mean(x**2))

    def trajectory(p, gradient):
        rows, columns, v, average = {}, {}, zeros(p), zeros(p)
        for t, g in steps(p, gradient):
            beta = 1 - t ** (-decay_rate)
            lr = min(1e-2, 1 / np.sqrt(t)) if learning_rate is None else at(learning_rate, t)
            for k in p:
                squares = g[k] ** 2 + eps
                if p[k].ndim == 2 and min(p[k].shape) >= min_dim_size_to_factor:
                    n, m = p[k].shape
                    r = squares @ np.ones(m)
                    c = np.ones(n) @ squares
                    rows[k] = beta * rows.get(k, 0.0) + (1 - beta) * r
                    columns[k] = beta * columns.get(k, 0.0) + (1 - beta) * c
                    v_hat = np.outer(rows[k], columns[k]) / np.sum(rows[k])
                else:
                    v_hat = v[k] = beta * v[k] + (1 - beta) * squares
                u = g[k] / np.sqrt(v_hat)
                if clipping_threshold is not None:
                    u = u / max(1.0, rms(u) / clipping_threshold)
                if multiply_by_parameter_scale:
                    u = max(min_scale, rms(p[k])) * u
                if momentum is not None:
                    u = average[k] = momentum * average[k] + (1 - momentum) * u
                if weight_decay is not None and where(k):
                    u = u + at(weight_decay, t) * p[k]
                p[k] = p[k] - lr * u
            yield p

    return trajectory
