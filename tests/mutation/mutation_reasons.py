"""Why mutants survive, by key: (what it is, why). What is not here counts as untested."""

from __future__ import annotations

EQUIVALENT = "equivalent"  # no input tells it from the source
TOLERATED = "tolerated"  # it can be told, but nobody promised otherwise

REASONS: dict[str, tuple[str, str]] = {
    # _learning_rate
    "d67c683a9d": (
        EQUIVALENT,
        "the chain, which alone passes it on, sets it by the places of the two links",
    ),
    # _divide_by_rms
    "021c8b40a8": (
        EQUIVALENT,
        "the ninth term of the series is below 1e-17, less than float64 can add to 1/2",
    ),
    "027128eb15": (
        EQUIVALENT,
        "x is t L > 0 for every decay below 1, so that the other branch is finite here too",
    ),
    # _second_moments
    "0653799196": (EQUIVALENT, "rows and columns have the same dtype"),
    # _trust_ratio
    "b4d85e1a12": (EQUIVALENT, "`numerics.scalar` takes the real dtype itself"),
    # _adaptive_clip
    "03445a2fe9": (EQUIVALENT, "inside a link an update has the dtype of its parameter"),
    # _describe
    "38567cd0ab": (
        EQUIVALENT,
        "it matters without parameters only, where no part of a path is one's",
    ),
    "119e92f9d3": (
        EQUIVALENT,
        "what is longer than the path has no slice of it, and no longer name exists",
    ),
    "3a2b2e1b26": (TOLERATED, "a line of exactly 100 columns is broken; promised are about 100"),
    "2513652e3e": (EQUIVALENT, "at the bound the factor is limit / limit, which is 1"),
    # _clipping
    "68dfeb4d2b": (
        EQUIVALENT,
        "the branch is not taken at a norm of 0, whose own derivative is 0, and elsewhere it is "
        "finite",
    ),
    # _gradient_noise
    "e924b06468": (
        EQUIVALENT,
        "the same numbers with imaginary parts of 0, for complex leaves only",
    ),
}
