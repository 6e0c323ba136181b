"""Rules: each looks at the samples for one illness and says what it found, or nothing.

They are asked in the order of `RULES`; one that only sees the consequences of another is silent
where that one has spoken (`explained_by`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from optlab.lab.health import _findings as sources
from optlab.lab.health._findings import Finding
from optlab.lab.health._samples import Samples, noise_and_signal

VANISHING_RATIO = 1e-3  # to the largest gradient of a layer, and to the layer's own weights
EXPLODING_RATIO = 1e2  # gradient norm to weight norm
SYMMETRIC_SPREAD = 1e-3
DEAD_SHARE = 1 / 3
CLIPPED_SHARE = 0.9
NOISE_RATIO = 10.0  # noise scale in batches
SMALL_RATIO = 1e-4  # a tenth of the ratio that is usual
LARGE_RATIO = 0.3
GROWTH = 3.0  # of weight norms, or of the loss
EDGE_COSINE = -0.5
STALLED_SHARE = 0.95
GROWN_LOSS = 1.2
UPHILL_COSINE = -0.5


class Course(NamedTuple):
    """A training: its samples, and its losses with the updates they are of."""

    samples: Samples
    loss_steps: np.ndarray
    losses: np.ndarray

    def loss_at_start(self) -> float:
        """The mean of the first twentieth."""
        return float(np.mean(self.losses[: max(len(self.losses) // 20, 1)]))

    def losses_at_end(self) -> np.ndarray:
        """The last tenth."""
        return self.losses[-max(len(self.losses) // 10, 1) :]

    def loss_at_end(self) -> float:
        return float(np.mean(self.losses_at_end()))

    def later(self) -> slice:
        """The second half of the samples."""
        return slice(len(self.samples.steps) // 2, None)


class Rule(NamedTuple):
    """look: what is asked. explained_by: rules that leave nothing to say where they found it."""

    name: str
    look: Callable[[Course], Finding | None]
    explained_by: tuple[str, ...] = ()


def apply(course: Course, rules: Iterable[Rule] | None = None) -> list[Finding]:
    """The findings of all rules."""
    found: dict[str, Finding] = {}
    for rule in RULES if rules is None else rules:
        if not found.keys() & set(rule.explained_by):
            finding = rule.look(course)
            if finding is not None:
                found[rule.name] = finding
    return list(found.values())


def never_finite(course: Course) -> Finding | None:
    losses, steps = course.losses, course.loss_steps
    if not len(losses) or steps[0] != 1 or np.isfinite(losses).any():
        return None
    return Finding(
        "loss is not finite", (), int(steps[0]), int(steps[-1]),
        "share of losses that are not finite, from the first update on", 1.0, 0.0,
        f"{sources.BOOK}, section 4.1",
        "It was never finite, so the learning rate is not the cause. Look at the data, the initial "
        "weights, and logarithms, divisions and roots in the loss.",
    )  # fmt: skip


def diverging(course: Course) -> Finding | None:
    samples, losses = course.samples, course.losses
    bad = samples.columns["nonfinite_fraction"].max(axis=0)
    where = np.nonzero(samples.columns["nonfinite_fraction"].max(axis=1) > 0)[0]
    if len(where):
        return _finding(
            course, "diverging", bad > 0, where, "share of gradient entries that are not finite",
            float(bad.max()), 0.0, sources.RANGE,
            "The parameters or the loss left the range of numbers. Lower the learning rate, warm "
            "it up, clip by global norm; guard(tx) skips single bad steps.",
        )  # fmt: skip
    if len(losses) < 5:
        return None
    if not np.isfinite(losses).all():
        value, threshold, at = float("inf"), 0.0, course.loss_steps[~np.isfinite(losses)]
    else:
        start = course.loss_at_start()
        value, threshold = course.loss_at_end() / max(start, 1e-30), GROWN_LOSS
        if value <= GROWN_LOSS or start <= 0 or np.quantile(course.losses_at_end(), 0.1) < start:
            return None
        at = course.loss_steps[losses > start]
    return Finding(
        "diverging", (), int(at[0]), int(at[-1]), "loss at the end over loss at the start",
        value, threshold, sources.RANGE,
        "The loss ends above its start. Lower the learning rate (lr_range shows where it begins "
        "to diverge), warm it up, or clip by global norm.",
    )  # fmt: skip


def uphill(course: Course) -> Finding | None:
    samples = course.samples
    products = samples.columns["gradient_norm"] * samples.columns["update_norm"]
    whole = samples.all_groups("gradient_norm") * samples.all_groups("update_norm")
    cosines = _over((products * samples.columns["cosine"]).sum(axis=1), whole)[whole > 0]
    typical = float(np.median(cosines)) if len(cosines) else 0.0
    if not typical < UPHILL_COSINE:
        return None
    return _finding(
        course, "uphill", None, np.nonzero(whole > 0)[0],
        "cosine between update and negative gradient, median", typical, UPHILL_COSINE,
        f"{sources.DESCENT} (threshold ours)",
        "The updates go where the loss grows: a minus is missing, or there is one too many. "
        "scale_by_learning_rate has it, scale does not.",
    )  # fmt: skip


def zero_initialisation(course: Course) -> Finding | None:
    samples = course.samples
    weights, gradients = samples.columns["weight_norm"], samples.columns["gradient_norm"]
    stuck = (weights[0] == 0) & (gradients == 0).all(axis=0)
    if not stuck.any() or not gradients.any():
        return None
    return _finding(
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
    alike = (widest < SYMMETRIC_SPREAD) & learns.any(axis=0)
    if not alike.any():
        return None
    return _finding(
        course, "symmetric units", alike, range(len(samples.steps)),
        "difference between the gradients of a layer's outputs, relative, at most",
        float(widest[alike].max()), SYMMETRIC_SPREAD,
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
    relative = _over(samples.columns["gradient_norm"], samples.columns["weight_norm"])[sound]
    typical = np.median(relative, axis=0)
    if typical.max() < EXPLODING_RATIO:
        return None
    return _finding(
        course, "exploding", typical >= EXPLODING_RATIO, np.nonzero(sound)[0],
        "gradient norm over weight norm, median of samples", float(typical.max()),
        EXPLODING_RATIO, f"{sources.CLIPPING} (threshold ours)",
        "Each layer magnifies what goes back through it. Use initial weights that keep the "
        "variance (he_normal, xavier_normal), normalisation layers, and clip_by_global_norm.",
    )  # fmt: skip


def vanishing(course: Course) -> Finding | None:
    samples = course.samples
    gradients = samples.columns["gradient_norm"]
    largest = gradients.max(axis=1, keepdims=True)
    relative = _over(gradients, np.broadcast_to(largest, gradients.shape))
    to_weights = _over(gradients, samples.columns["weight_norm"])
    faint = (gradients > 0) & (relative < VANISHING_RATIO) & (to_weights < VANISHING_RATIO)
    lasting = faint.mean(axis=0) > 0.5
    if not lasting.any():
        return None
    # Next to faint ones, a gradient of 0 is one that fell below the smallest number.
    lost = (gradients == 0) & (largest > 0) & (samples.columns["weight_norm"] > 0)
    faint |= lost
    lasting = faint.mean(axis=0) > 0.5
    return _finding(
        course, "vanishing", lasting, np.nonzero(faint[:, lasting].any(axis=1))[0],
        "gradient norm over that of the layer with the largest, median of samples",
        float(np.median(relative[:, lasting], axis=0).min()), VANISHING_RATIO,
        f"{sources.DEPTH} (threshold ours)",
        "Next to nothing of the error reaches these layers. Use ReLU-like activations with "
        "he_normal, or tanh with xavier_normal; residual connections; normalisation layers.",
    )  # fmt: skip


def dead_units(course: Course) -> Finding | None:
    samples = course.samples
    shares = samples.columns["dead_fraction"]
    if len(samples.steps) < 3:
        return None
    dead = shares[-1] > DEAD_SHARE
    if not dead.any():
        return None
    since = np.nonzero((shares[:, dead] > DEAD_SHARE).all(axis=1))[0]
    return _finding(
        course, "dead units", dead, since if len(since) else [len(shares) - 1],
        "share of outputs without any gradient", float(shares[-1].max()), DEAD_SHARE,
        f"{sources.DYING} (threshold ours)",
        "These units are 0 for every example, and nothing wakes them. Lower the learning rate or "
        "warm it up, start biases at 0, use he_normal, or leaky ReLU, GELU.",
    )  # fmt: skip


def too_large(course: Course) -> Finding | None:
    samples = course.samples
    ratios = _over(samples.all_groups("update_norm"), samples.all_groups("weight_norm"))
    ratios = np.where(np.isfinite(ratios), ratios, np.inf)
    if samples.all_groups("weight_norm")[0] == 0:
        return None
    weights = samples.columns["weight_norm"]
    grown = np.nanmax(_over(weights[-1], weights[0]), initial=0)
    if len(course.losses):
        finite = np.where(np.isfinite(course.losses), course.losses, np.inf)
        if 0 < finite[0] < np.inf:
            grown = max(grown, finite.max() / max(finite[0], 1e-30))
    peak = float(ratios.max())
    if peak < LARGE_RATIO or grown < GROWTH:
        return None
    at = np.nonzero(ratios >= LARGE_RATIO)[0]
    return _finding(
        course, "learning rate too large", None, at,
        f"largest update norm over weight norm, where weights or loss grew {grown:.3g}-fold",
        peak, LARGE_RATIO, f"{sources.RATIO}; {sources.CATAPULT} (threshold ours)",
        "One update replaced a good part of what the weights were, and they ran away. Divide the "
        "learning rate by 10, or warm it up.",
    )  # fmt: skip


def edge_of_stability(course: Course) -> Finding | None:
    samples, found = course.samples, noise_and_signal(course.samples)
    if found is None or len(samples.steps) < 6:
        return None
    noise, signal = (np.nansum(part[course.later()]) for part in found)
    cosine = float(signal / max(noise + signal, 1e-300))
    if not cosine < EDGE_COSINE:
        return None
    return _finding(
        course, "learning rate at the edge of stability", None,
        range(len(samples.steps))[course.later()],
        "cosine between successive gradients, mean of the second half", cosine, EDGE_COSINE,
        f"{sources.EDGE} (threshold ours)",
        "Each update jumps to the other side of the valley. It is the most this loss bears: it "
        "may still fall, in zigzag; if it does not, halve the learning rate.",
    )  # fmt: skip


def always_clipped(course: Course) -> Finding | None:
    samples = course.samples
    if "clipped_fraction" not in samples.columns or len(samples.steps) < 4:
        return None
    shares = samples.columns["clipped_fraction"][course.later()].mean(axis=0)
    if not (shares > CLIPPED_SHARE).any():
        return None
    usual = np.median(samples.all_groups("gradient_norm")[course.later()])
    return _finding(
        course, "always clipped", shares > CLIPPED_SHARE,
        range(len(samples.steps))[course.later()], "share of clipped steps, second half",
        float(shares.max()), CLIPPED_SHARE, f"{sources.CLIPPING}, section 3.2 (threshold ours)",
        "The clip sets the length of every step, as if the learning rate were another. Gradient "
        f"norms are usually {usual:.3g}: clip at half to ten times that.",
    )  # fmt: skip


def noise_dominated(course: Course) -> Finding | None:
    samples, found = course.samples, noise_and_signal(course.samples)
    if found is None:
        return None
    learned = len(course.losses) >= 5 and course.loss_at_end() < 0.5 * course.loss_at_start()
    noise, signal = (part[course.later()].sum(axis=1) for part in found)
    known = np.isfinite(noise) & np.isfinite(signal)
    if learned or known.sum() < 8:
        return None
    # As much signal as two standard errors allow.
    error = signal[known].std(ddof=1) / np.sqrt(known.sum())
    mean = signal[known].mean()
    most = mean + 2 * error
    if mean < -2 * error or most <= 0 or noise[known].mean() / most < NOISE_RATIO:
        return None
    return _finding(
        course, "noise-dominated", None, range(len(samples.steps))[course.later()],
        "gradient noise scale in batches, at least", float(noise[known].mean() / most),
        NOISE_RATIO, f"{sources.NOISE} (threshold ours)",
        "Single gradients are noise for the most part, and the loss does not fall. Use a larger "
        "batch (accumulate_gradients needs no more memory), or a smaller learning rate.",
    )  # fmt: skip


def too_small(course: Course) -> Finding | None:
    samples = course.samples
    ratios = _over(samples.all_groups("update_norm"), samples.all_groups("weight_norm"))
    if not samples.all_groups("weight_norm").any() or not samples.all_groups("gradient_norm").any():
        return None
    peak = float(np.max(ratios, initial=0))
    if not peak < SMALL_RATIO:
        return None
    return _finding(
        course, "learning rate too small", None, range(len(samples.steps)),
        "largest update norm over weight norm", peak, SMALL_RATIO,
        f"{sources.RATIO}; threshold: a tenth of it",
        "The weights stay what they are. Multiply the learning rate by 10 until the ratio is "
        "about 1e-3. (Fine-tuning may want this little.)",
    )  # fmt: skip


def stalled(course: Course) -> Finding | None:
    if len(course.losses) < 10 or not course.loss_at_start() > 0:
        return None
    share = course.loss_at_end() / course.loss_at_start()
    if not share > STALLED_SHARE:
        return None
    return Finding(
        "stalled", (), int(course.loss_steps[0]), int(course.loss_steps[-1]),
        "loss at the end over loss at the start", share, STALLED_SHARE,
        f"{sources.BOOK}, section 11.5 (threshold ours)",
        "Gradients flow and weights move, but the loss stays. See whether the network can fit a "
        "few examples by heart: if not, look at the labels, the loss, the weight decay.",
    )  # fmt: skip


RULES = (
    Rule("uphill", uphill),
    Rule("loss is not finite", never_finite),
    Rule("diverging", diverging, ("uphill", "loss is not finite")),
    Rule("zero initialisation", zero_initialisation),
    Rule("symmetric units", symmetry),
    Rule("exploding", exploding),
    Rule("vanishing", vanishing, ("exploding", "zero initialisation")),
    Rule("learning rate too large", too_large, ("uphill", "loss is not finite")),
    Rule("dead units", dead_units, ("zero initialisation", "diverging")),
    Rule("learning rate at the edge of stability", edge_of_stability, ("learning rate too large",)),
    Rule("always clipped", always_clipped),
    Rule(
        "noise-dominated",
        noise_dominated,
        (
            "zero initialisation",
            "dead units",
            "vanishing",
            "learning rate too large",
            "learning rate at the edge of stability",
            "diverging",
        ),
    ),
    Rule("learning rate too small", too_small, ("zero initialisation", "dead units", "vanishing")),
)
RULES += (Rule("stalled", stalled, tuple(rule.name for rule in RULES)),)


def _finding(
    course: Course,
    rule: str,
    groups: np.ndarray | None,
    samples: Any,
    measure: str,
    value: float,
    threshold: float,
    source: str,
    advice: str,
) -> Finding:
    names = course.samples.groups
    chosen = () if groups is None else tuple(n for n, yes in zip(names, groups, strict=True) if yes)
    steps = course.samples.steps[np.asarray(list(samples), int)]
    return Finding(
        rule, chosen, int(steps[0]), int(steps[-1]), measure, value, threshold, source, advice
    )


def _over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, 0.0)
