"""Rules of the signal: what comes back to which layer, and to which of its units."""

from __future__ import annotations

import numpy as np

from optlab.lab.health import _findings as sources
from optlab.lab.health import _thresholds as limits
from optlab.lab.health._course import Course, finding_of, over
from optlab.lab.health._findings import Finding


def zero_initialisation(course: Course) -> Finding | None:
    samples = course.samples
    weights, gradients = samples.columns["weight_norm"], samples.columns["gradient_norm"]
    stuck = (weights[0] == 0) & (gradients == 0).all(axis=0)
    if not stuck.any() or not gradients.any():
        return None
    return finding_of(
        course, "zero initialisation", stuck, range(len(samples.steps)),
        "gradient norm of weights that are all zero", 0.0, 0.0,
        f"{sources.BOOK}, section 8.4",
        "Layers of zeros pass no gradient on, so these never move. Draw them at random "
        "(initializers.he_normal for ReLU); zeros are for biases and last layers only.",
    )  # fmt: skip


def symmetry(course: Course) -> Finding | None:
    samples = course.samples
    spread, gradients = samples.columns["unit_spread"], samples.columns["gradient_norm"]
    learns = gradients > 0
    widest = np.where(learns, spread, 0).max(axis=0)
    alike = (widest < limits.SYMMETRIC_SPREAD) & learns.any(axis=0)
    if not alike.any():
        return None
    return finding_of(
        course, "symmetric units", alike, range(len(samples.steps)),
        "difference between the gradients of a layer's outputs, relative, at most",
        float(widest[alike].max()), limits.SYMMETRIC_SPREAD,
        f"{sources.BOOK}, section 8.4 (threshold ours)",
        "All units of the layer compute the same and are taught the same, so it works like one "
        "unit. Draw its weights at random instead of setting them to one number.",
    )  # fmt: skip


def exploding(course: Course) -> Finding | None:
    samples = course.samples
    sound = np.isfinite(samples.columns["gradient_norm"]).all(axis=1)
    sound &= np.isfinite(samples.columns["weight_norm"]).all(axis=1)
    if not sound.any():
        return None
    relative = over(samples.columns["gradient_norm"], samples.columns["weight_norm"])[sound]
    typical = np.median(relative, axis=0)
    if typical.max() < limits.EXPLODING_RATIO:
        return None
    return finding_of(
        course, "exploding", typical >= limits.EXPLODING_RATIO, np.nonzero(sound)[0],
        "gradient norm over weight norm, median of samples", float(typical.max()),
        limits.EXPLODING_RATIO, f"{sources.CLIPPING} (threshold ours)",
        "Each layer magnifies what goes back through it. Use initial weights that keep the "
        "variance (he_normal, xavier_normal), normalisation layers, and clip_by_global_norm.",
    )  # fmt: skip


def vanishing(course: Course) -> Finding | None:
    samples = course.samples
    gradients = samples.columns["gradient_norm"]
    largest = gradients.max(axis=1, keepdims=True)
    relative = over(gradients, np.broadcast_to(largest, gradients.shape))
    to_weights = over(gradients, samples.columns["weight_norm"])
    faint = (
        (gradients > 0)
        & (relative < limits.VANISHING_RATIO)
        & (to_weights < limits.VANISHING_RATIO)
    )
    lasting = faint.mean(axis=0) > 0.5
    if not lasting.any():
        return None
    # Next to faint ones, a gradient of 0 is one that fell below the smallest number.
    lost = (gradients == 0) & (largest > 0) & (samples.columns["weight_norm"] > 0)
    faint |= lost
    lasting = faint.mean(axis=0) > 0.5
    return finding_of(
        course, "vanishing", lasting, np.nonzero(faint[:, lasting].any(axis=1))[0],
        "gradient norm over that of the layer with the largest, median of samples",
        float(np.median(relative[:, lasting], axis=0).min()), limits.VANISHING_RATIO,
        f"{sources.DEPTH} (threshold ours)",
        "Next to nothing of the error reaches these layers. Use ReLU-like activations with "
        "he_normal, or tanh with xavier_normal; residual connections; normalisation layers.",
    )  # fmt: skip


def saturated(course: Course) -> Finding | None:
    """The flat ends of sigmoids scale gradients by powers of e; nothing else does at the start.

    Later v says less: what gets no gradient for a while decays.
    """
    samples = course.samples
    if "second_moment_spread" not in samples.columns or samples.steps[0] != 1:
        return None
    spreads = samples.columns["second_moment_spread"][0]
    wide = spreads > limits.SATURATED_SPREAD
    # One layer alone may be an embedding of rare words. The loss of fine-tuning is low at first.
    if wide.sum() < 2 or not course.faint() or course.kept() < limits.LEARNED_SHARE:
        return None
    return finding_of(
        course, "saturated units", wide, [0],
        "largest over smallest root of the second moments, at update 1",
        float(spreads[wide].min()), limits.SATURATED_SPREAD, f"{sources.DEPTH} (threshold ours)",
        "Some units are at the flat ends of their sigmoid or tanh, and learn many orders of "
        "magnitude less than others; all gradients are next to nothing beside the weights. It is "
        "not the learning rate: draw smaller weights (xavier_normal), scale the inputs, or use "
        "ReLU-like activations. init_report shows the activations.",
    )  # fmt: skip


def dead_units(course: Course) -> Finding | None:
    samples = course.samples
    shares = samples.columns["dead_fraction"].copy()
    # No output gets a gradient, but the layer does, by its bias: it is the inputs that are dead.
    shares[(shares == 1) & (samples.columns["gradient_norm"] > 0)] = 0
    if len(samples.steps) < 3:
        return None
    dead = shares[-1] > limits.DEAD_SHARE
    if not dead.any():
        return None
    since = np.nonzero((shares[:, dead] > limits.DEAD_SHARE).all(axis=1))[0]
    return finding_of(
        course, "dead units", dead, since if len(since) else [len(shares) - 1],
        "share of outputs without any gradient", float(shares[-1].max()), limits.DEAD_SHARE,
        f"{sources.DYING} (threshold ours)",
        "These units are 0 for every example, and nothing wakes them. Lower the learning rate or "
        "warm it up, start biases at 0, use he_normal, or leaky ReLU, GELU.",
    )  # fmt: skip
