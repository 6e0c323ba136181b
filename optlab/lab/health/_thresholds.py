"""From where on it is an illness; each finding tells its own threshold."""

VANISHING_RATIO = 1e-3  # to the largest gradient of a layer, and to the layer's own weights
FAINT_RATIO = 1e-3  # gradient norm to weight norm, in every layer
SATURATED_SPREAD = 1e12  # sqrt(v) after one update; under 1e7 in all built-in tasks
EXPLODING_RATIO = 1e2  # gradient norm to weight norm
SYMMETRIC_SPREAD = 1e-3
DEAD_SHARE = 1 / 3
CLIPPED_SHARE = 0.9
NOISE_RATIO = 10.0  # noise scale in batches
FALL_ERRORS = 3.0  # standard errors between the start of the loss and its end
LEARNED_SHARE = 0.5  # of the loss at the start
SMALL_RATIO = 1e-4  # a tenth of the ratio that is usual
LARGE_RATIO = 0.3
GROWTH = 3.0  # of weight norms, or of the loss
EDGE_COSINE = -0.5
STALLED_SHARE = 0.95
GROWN_LOSS = 1.2
UPHILL_COSINE = -0.5
