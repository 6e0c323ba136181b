"""Rules of the steps: where they lead, how long they are, and what they do to the loss."""

from __future__ import annotations

import numpy as np

from optlab.lab.health import _findings as sources
from optlab.lab.health import _thresholds as limits
from optlab.lab.health._course import Course, finding_of, over
from optlab.lab.health._findings import Finding
from optlab.lab.health._samples import noise_and_signal


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
        return finding_of(
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
        value, threshold = course.loss_at_end() / max(start, 1e-30), limits.GROWN_LOSS
        if (
            value <= limits.GROWN_LOSS
            or start <= 0
            or np.quantile(course.losses_at_end(), 0.1) < start
        ):
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
    cosines = over((products * samples.columns["cosine"]).sum(axis=1), whole)[whole > 0]
    typical = float(np.median(cosines)) if len(cosines) else 0.0
    if not typical < limits.UPHILL_COSINE:
        return None
    return finding_of(
        course, "uphill", None, np.nonzero(whole > 0)[0],
        "cosine between update and negative gradient, median", typical, limits.UPHILL_COSINE,
        f"{sources.DESCENT} (threshold ours)",
        "The updates go where the loss grows: a minus is missing, or there is one too many. "
        "scale_by_learning_rate has it, scale does not.",
    )  # fmt: skip


def too_large(course: Course) -> Finding | None:
    samples = course.samples
    ratios = over(samples.all_groups("update_norm"), samples.all_groups("weight_norm"))
    ratios = np.where(np.isfinite(ratios), ratios, np.inf)
    if samples.all_groups("weight_norm")[0] == 0:
        return None
    weights = samples.columns["weight_norm"]
    grown = np.nanmax(over(weights[-1], weights[0]), initial=0)
    if len(course.losses):
        finite = np.where(np.isfinite(course.losses), course.losses, np.inf)
        if 0 < finite[0] < np.inf:
            grown = max(grown, finite.max() / max(finite[0], 1e-30))
    peak = float(ratios.max())
    if peak < limits.LARGE_RATIO or grown < limits.GROWTH:
        return None
    at = np.nonzero(ratios >= limits.LARGE_RATIO)[0]
    return finding_of(
        course, "learning rate too large", None, at,
        f"largest update norm over weight norm, where weights or loss grew {grown:.3g}-fold",
        peak, limits.LARGE_RATIO, f"{sources.RATIO}; {sources.CATAPULT} (threshold ours)",
        "One update replaced a good part of what the weights were, and they ran away. Divide the "
        "learning rate by 10, or warm it up.",
    )  # fmt: skip


def edge_of_stability(course: Course) -> Finding | None:
    samples, found = course.samples, noise_and_signal(course.samples)
    if found is None or len(samples.steps) < 6:
        return None
    noise, signal = (np.nansum(part[course.later()]) for part in found)
    cosine = float(signal / max(noise + signal, 1e-300))
    if not cosine < limits.EDGE_COSINE:
        return None
    return finding_of(
        course, "learning rate at the edge of stability", None,
        range(len(samples.steps))[course.later()],
        "cosine between successive gradients, mean of the second half", cosine, limits.EDGE_COSINE,
        f"{sources.EDGE} (threshold ours)",
        "Each update jumps to the other side of the valley. It is the most this loss bears: it "
        "may still fall, in zigzag; if it does not, halve the learning rate.",
    )  # fmt: skip


def always_clipped(course: Course) -> Finding | None:
    samples = course.samples
    if "clipped_fraction" not in samples.columns or len(samples.steps) < 4:
        return None
    shares = samples.columns["clipped_fraction"][course.later()].mean(axis=0)
    if not (shares > limits.CLIPPED_SHARE).any():
        return None
    usual = np.median(samples.all_groups("gradient_norm")[course.later()])
    return finding_of(
        course, "always clipped", shares > limits.CLIPPED_SHARE,
        range(len(samples.steps))[course.later()], "share of clipped steps, second half",
        float(shares.max()), limits.CLIPPED_SHARE,
        f"{sources.CLIPPING}, section 3.2 (threshold ours)",
        "The clip sets the length of every step, as if the learning rate were another. Gradient "
        f"norms are usually {usual:.3g}: clip at half to ten times that.",
    )  # fmt: skip


def noise_dominated(course: Course) -> Finding | None:
    samples, found = course.samples, noise_and_signal(course.samples)
    if found is None:
        return None
    learned = course.kept() < limits.LEARNED_SHARE or course.falls()
    noise, signal = (part[course.later()].sum(axis=1) for part in found)
    known = np.isfinite(noise) & np.isfinite(signal)
    if learned or known.sum() < 8:
        return None
    # As much signal as two standard errors allow.
    error = signal[known].std(ddof=1) / np.sqrt(known.sum())
    mean = signal[known].mean()
    most = mean + 2 * error
    if mean < -2 * error or most <= 0 or noise[known].mean() / most < limits.NOISE_RATIO:
        return None
    kept = course.kept()
    loss = f", and the loss, which has kept {kept:.0%} of its start, does not fall for sure"
    loss = "" if np.isnan(kept) else loss
    return finding_of(
        course, "noise-dominated", None, range(len(samples.steps))[course.later()],
        "gradient noise scale in batches, at least", float(noise[known].mean() / most),
        limits.NOISE_RATIO, f"{sources.NOISE} (threshold ours)",
        f"Single gradients are noise for the most part{loss}. Use a larger batch "
        "(accumulate_gradients needs no more memory), or a smaller learning rate.",
    )  # fmt: skip


def too_small(course: Course) -> Finding | None:
    samples = course.samples
    ratios = over(samples.all_groups("update_norm"), samples.all_groups("weight_norm"))
    if not samples.all_groups("weight_norm").any() or not samples.all_groups("gradient_norm").any():
        return None
    peak = float(np.max(ratios, initial=0))
    if not peak < limits.SMALL_RATIO:
        return None
    # How far a step goes is rate times gradient: a small step does not say which of them is small.
    advice = (
        "But gradients are next to nothing beside the weights in every layer too, which is not the "
        "rate: units may be saturated (flat ends of sigmoid or tanh; init_report shows them), the "
        "loss scaled down or at its minimum. If none is so, multiply the learning rate by 10."
        if course.faint()
        else "Multiply the learning rate by 10 until the ratio is about 1e-3. (Fine-tuning may "
        "want this little.)"
    )
    return finding_of(
        course, "learning rate too small", None, range(len(samples.steps)),
        "largest update norm over weight norm", peak, limits.SMALL_RATIO,
        f"{sources.RATIO}; threshold: a tenth of it",
        f"The weights stay what they are. {advice}",
    )  # fmt: skip


def stalled(course: Course) -> Finding | None:
    if len(course.losses) < 10 or not course.loss_at_start() > 0:
        return None
    share = course.loss_at_end() / course.loss_at_start()
    if not share > limits.STALLED_SHARE:
        return None
    return Finding(
        "stalled", (), int(course.loss_steps[0]), int(course.loss_steps[-1]),
        "loss at the end over loss at the start", share, limits.STALLED_SHARE,
        f"{sources.BOOK}, section 11.5 (threshold ours)",
        "Gradients flow and weights move, but the loss stays. See whether the network can fit a "
        "few examples by heart: if not, look at the labels, the loss, the weight decay.",
    )  # fmt: skip
