"""The registry of the parity suite: what each recipe must equal, and what it must not and why.

A row's call is run by optlab and by the NumPy reference of the same name, the calls of its peers by
PyTorch and Optax. All must agree, except where a row gives a reason: then they must differ, so that
a reason cannot outlive its difference. `decaying(x)` is the schedule `x / (1 + count / 10)`.
"""

from __future__ import annotations

from parity_registry import Case, Peer, case

POWERS = "Optax's `1 - b**t` is up to 1e-5 off"
RHO = f"{POWERS}, and its rho is a small difference of large numbers"


def rounded(call: str, reason: str = POWERS) -> Peer:
    return Peer(call, differs_in_float32=reason)


SGD = (
    case("sgd(0.05)", torch="SGD(lr=0.05)", optax="sgd(0.05)"),
    case("sgd(0.05, 0.9)", torch="SGD(lr=0.05, momentum=0.9)", optax="sgd(0.05, 0.9)"),
    case(
        "sgd(0.05, 0.9, True)",
        torch="SGD(lr=0.05, momentum=0.9, nesterov=True)",
        optax="sgd(0.05, 0.9, nesterov=True)",
    ),
    case("sgd(0.05, 0.9, dampening=0.5)", torch="SGD(lr=0.05, momentum=0.9, dampening=0.5)"),
    case(
        "sgd(0.05, 0.8, l2=0.1)",
        torch="SGD(lr=0.05, momentum=0.8, weight_decay=0.1)",
        optax="chain(add_decayed_weights(0.1), sgd(0.05, 0.8))",
    ),
    case(
        "sgd(0.05, l2=0.1, where=kernels)",
        optax="chain(add_decayed_weights(0.1, kernel_mask), sgd(0.05))",
    ),
    case(
        "sgd(decaying(0.1), 0.9, True)",
        torch="SGD(lr=decaying(0.1), momentum=0.9, nesterov=True)",
        optax="sgd(decaying(0.1), 0.9, nesterov=True)",
    ),
    case("sgd(0.05, decaying(0.9), l2=decaying(0.1))"),
)

ADAGRAD = (
    case(
        "adagrad(0.1)",
        torch="Adagrad(lr=0.1)",
        optax=Peer("adagrad(0.1)", "Optax starts s at 0.1 and has an eps of 1e-7 inside the root"),
    ),
    case(
        "adagrad(0.1, initial_accumulator_value=0.1, eps=0.0, eps_root=1e-7)", optax="adagrad(0.1)"
    ),
    case(
        "adagrad(0.1, initial_accumulator_value=0.5, eps=1e-3)",
        torch="Adagrad(lr=0.1, initial_accumulator_value=0.5, eps=1e-3)",
    ),
)

ADADELTA = (
    case("adadelta()", torch="Adadelta()", optax="adadelta(1.0)"),
    case(
        "adadelta(0.5, 0.8, 1e-3)",
        torch="Adadelta(lr=0.5, rho=0.8, eps=1e-3)",
        optax="adadelta(0.5, 0.8, 1e-3)",
    ),
)

RMSPROP = (
    case(
        "rmsprop(0.01)",
        torch=[
            "RMSprop(lr=0.01, alpha=0.9)",
            Peer("RMSprop(lr=0.01)", "PyTorch's default decay is 0.99"),
        ],
        optax=[
            "rmsprop(0.01, eps_in_sqrt=False)",
            Peer("rmsprop(0.01)", "Optax has its eps inside the root"),
        ],
    ),
    case("rmsprop(0.01, eps=0.0, eps_root=1e-8)", optax="rmsprop(0.01)"),
    case(
        "rmsprop(0.01, 0.8, 1e-3, initial_scale=0.5)",
        optax="rmsprop(0.01, 0.8, 1e-3, initial_scale=0.5, eps_in_sqrt=False)",
    ),
    case(
        "rmsprop(0.01, centered=True, momentum=0.9)",
        torch="RMSprop(lr=0.01, alpha=0.9, centered=True, momentum=0.9)",
    ),
    case(
        "rmsprop(0.01, eps=0.0, eps_root=1e-8, centered=True, momentum=0.9, nesterov=True)",
        optax="rmsprop(0.01, centered=True, momentum=0.9, nesterov=True)",
    ),
    case(
        "rmsprop(0.01, bias_correction=True)",
        optax="rmsprop(0.01, eps_in_sqrt=False, bias_correction=True)",
    ),
    case("rmsprop(0.01, eps_root=0.1, centered=True, bias_correction=True)"),
    case(
        "rmsprop(decaying(0.05), 0.99, momentum=0.9)",
        torch="RMSprop(lr=decaying(0.05), momentum=0.9)",
        optax=Peer(
            "rmsprop(decaying(0.05), 0.99, eps_in_sqrt=False, momentum=0.9)",
            "Optax's momentum runs over steps that were multiplied by the learning rate of their "
            "time",
        ),
    ),
)

ADAM = (
    case("adam(0.01)", torch="Adam(lr=0.01)", optax=rounded("adam(0.01)")),
    case("adam(0.01, 0.5, 0.9, 1e-3)", torch="Adam(lr=0.01, betas=(0.5, 0.9), eps=1e-3)"),
    case("adam(0.01, eps_root=1e-3)", optax=rounded("adam(0.01, eps_root=1e-3)")),
    case(
        "adam(decaying(0.1))",
        torch="Adam(lr=decaying(0.1))",
        optax=rounded("adam(decaying(0.1))"),
    ),
    case("adam(0.01, decaying(0.9), b2=decaying(0.999))"),
)

ADAMW = (
    case(
        "adamw(0.01)",
        torch=[
            "AdamW(lr=0.01, weight_decay=1e-4)",
            Peer("AdamW(lr=0.01)", "PyTorch's default decay is 0.01"),
            Peer(
                "Adam(lr=0.01, weight_decay=1e-4)",
                "an L2 penalty in the gradient, which Adam divides by the second moment",
            ),
        ],
        optax=rounded("adamw(0.01)"),
    ),
    case(
        "adamw(decaying(0.1), weight_decay=0.1)",
        torch="AdamW(lr=decaying(0.1), weight_decay=0.1)",
        optax=rounded("adamw(decaying(0.1), weight_decay=0.1)"),
    ),
    case(
        "adamw(0.01, weight_decay=0.1, where=kernels)",
        optax=rounded("adamw(0.01, weight_decay=0.1, mask=kernel_mask)"),
    ),
    case("adamw(0.01, 0.5, 0.9, 1e-3, eps_root=1e-4, weight_decay=decaying(0.5))"),
    case(
        "adamw(decaying(0.1), weight_decay=0.02, coupling='schedule')",
        optax=[
            rounded(
                "chain(scale_by_adam(), scale_by_learning_rate(decaying(0.1)), "
                "add_decayed_weights(decaying(-0.02)))"
            ),
            Peer(
                "adamw(decaying(0.1), weight_decay=0.02)",
                "Optax's decay is multiplied by the whole learning rate, not by its schedule alone",
            ),
        ],
    ),
    case(
        "adamw(decaying(0.1), weight_decay=0.02, coupling='independent')",
        optax=rounded("chain(adam(decaying(0.1)), add_decayed_weights(-0.02))"),
    ),
    case("adamw(decaying(0.1), weight_decay=0.2, coupling='corrected')"),
    case("adamw(decaying(0.1), weight_decay=0.2, coupling='cautious')"),
)

ADAMAX = (
    case("adamax(0.01)", torch="Adamax(lr=0.01)", optax="adamax(0.01)"),
    case(
        "adamax(0.01, 0.5, 0.9, 1e-2)",
        torch="Adamax(lr=0.01, betas=(0.5, 0.9), eps=1e-2)",
        optax="adamax(0.01, 0.5, 0.9, 1e-2)",
    ),
)

NADAM = (
    case(
        "nadam(0.01)",
        torch=[
            "NAdam(lr=0.01)",
            Peer(
                "NAdam(lr=0.01)",
                "PyTorch keeps the product of momenta in its default dtype, float32, also for "
                "float64 parameters",
                default_dtype="float32",
            ),
        ],
        optax=Peer("nadam(0.01)", "Optax's momentum does not warm up"),
    ),
    case("nadam(0.01, momentum_decay=0.1)", torch="NAdam(lr=0.01, momentum_decay=0.1)"),
    case("nadam(0.01, convention='optax')", optax=rounded("nadam(0.01)")),
    case(
        "nadam(0.01, 0.5, 0.9, 1e-3, eps_root=1e-3, convention='optax')",
        optax="nadam(0.01, 0.5, 0.9, 1e-3, eps_root=1e-3)",
    ),
)

RADAM = (
    case(
        "radam(0.01)",
        torch="RAdam(lr=0.01)",
        optax=Peer("radam(0.01)", "Optax adds eps to the corrected root"),
    ),
    case("radam(0.01, 0.8, 0.9, 1e-3)", torch="RAdam(lr=0.01, betas=(0.8, 0.9), eps=1e-3)"),
    case(
        "radam(0.01, convention='optax')",
        torch=Peer("RAdam(lr=0.01)", "PyTorch adds eps to the raw root"),
        optax=rounded("radam(0.01)", RHO),
    ),
    case(
        "radam(0.01, convention='paper')",
        optax=Peer("radam(0.01)", "Optax divides from rho = 5 on, the paper from rho = 4 on"),
    ),
    case("radam(0.01, b2=0.5, convention='paper')"),
)

AMSGRAD = (
    case(
        "amsgrad(0.01)",
        torch="Adam(lr=0.01, amsgrad=True)",
        optax=Peer("amsgrad(0.01)", "Optax's maximum is of the corrected second moment"),
    ),
    case(
        "amsgrad(0.01, convention='optax')",
        torch=Peer("Adam(lr=0.01, amsgrad=True)", "PyTorch's maximum is of the raw second moment"),
        optax=rounded("amsgrad(0.01)"),
    ),
    case("amsgrad(0.01, 0.5, 0.9, 1e-3, eps_root=1e-3)"),
)

ADABELIEF = (
    case("adabelief(0.01)", optax=rounded("adabelief(0.01)")),
    case(
        "adabelief(0.01, 0.5, 0.9, 1e-3, eps_root=1e-4)",
        optax="adabelief(0.01, 0.5, 0.9, 1e-3, 1e-4)",
    ),
)

YOGI = (
    case(
        "yogi(0.01)",
        optax=Peer("yogi(0.01)", "Optax starts the mean, too, at 1e-6; here it starts at 0"),
    ),
    case(
        "yogi(0.01, 0.5, 0.9, 1e-2, initial_accumulator_value=0.0)",
        optax="chain(scale_by_yogi(0.5, 0.9, 1e-2, initial_accumulator_value=0.0), scale(-0.01))",
    ),
)

LION = (
    case("lion(0.01)", optax="lion(0.01)"),
    case(
        "lion(decaying(0.1), 0.8, 0.95, weight_decay=0.1, where=kernels)",
        optax="lion(decaying(0.1), 0.8, 0.95, weight_decay=0.1, mask=kernel_mask)",
    ),
)

LAMB = (
    case("lamb(0.02)", optax="lamb(0.02)"),
    case(
        "lamb(decaying(0.1), 0.8, 0.9, 1e-3, eps_root=1e-4, weight_decay=0.1, where=kernels)",
        optax="lamb(decaying(0.1), 0.8, 0.9, 1e-3, 1e-4, 0.1, mask=kernel_mask)",
    ),
)

LARS = (
    case(
        "lars(10.0, weight_decay=0.1)",
        optax=Peer(
            "lars(10.0, weight_decay=0.1)",
            "Optax divides by |g + λθ|, the paper by |g| + λ|θ|",
        ),
    ),
    case("lars(10.0, weight_decay=0.1, convention='optax')", optax="lars(10.0, weight_decay=0.1)"),
    case(
        "lars(1.0, 0.5, weight_decay=0.1, trust_coefficient=0.05, eps=0.1, nesterov=True, "
        "where=kernels)"
    ),
    case(
        "lars(decaying(0.1), 0.8, trust_coefficient=0.5, eps=0.1, where=kernels, "
        "convention='optax')",
        optax="lars(decaying(0.1), 0.0, kernel_mask, 0.5, 0.1, kernel_mask, 0.8)",
    ),
)

FLOAT32_DECAY = "Optax computes the decay of the second moment in float32, for float64 leaves too"
ADAFACTOR = (
    case("adafactor(min_dim_size_to_factor=1)", torch="Adafactor(lr=0.01)"),
    case(
        "adafactor(min_dim_size_to_factor=1, min_scale=1.0, weight_decay=0.1)",
        torch="Adafactor(lr=0.01, eps=(None, 1.0), weight_decay=0.1)",
    ),
    case(
        "adafactor(0.5, min_dim_size_to_factor=1)",
        torch=Peer("Adafactor(lr=0.5)", "PyTorch's learning rate is at most 1 / sqrt(t)"),
    ),
    case(
        "adafactor(0.02, min_dim_size_to_factor=3)",
        optax=Peer(
            "adafactor(0.02, min_dim_size_to_factor=3)", FLOAT32_DECAY, agrees_in_float32=True
        ),
    ),
    case(
        "adafactor(0.02, decay_rate=0.5, momentum=0.9, min_dim_size_to_factor=3, eps=1e-3)",
        optax=Peer(
            "adafactor(0.02, 3, 0.5, momentum=0.9, dtype_momentum='float64', eps=1e-3)",
            FLOAT32_DECAY,
        ),
    ),
    case(
        "adafactor(0.02, min_dim_size_to_factor=2, weight_decay=0.01)",
        optax=Peer(
            "adafactor(0.02, 2, weight_decay_rate=0.01)",
            "Optax's decay is not multiplied by the learning rate",
        ),
    ),
    case("adafactor(0.02, min_dim_size_to_factor=4)"),
    case("adafactor(decaying(0.05), clipping_threshold=None, multiply_by_parameter_scale=False)"),
    case(
        "adafactor(decaying(0.1), clipping_threshold=0.5, min_scale=2.0, momentum=0.5, "
        "weight_decay=0.5, where=kernels)"
    ),
)

CASES: tuple[Case, ...] = (
    *SGD,
    *ADAGRAD,
    *ADADELTA,
    *RMSPROP,
    *ADAM,
    *ADAMW,
    *ADAMAX,
    *NADAM,
    *RADAM,
    *AMSGRAD,
    *ADABELIEF,
    *YOGI,
    *LION,
    *LAMB,
    *LARS,
    *ADAFACTOR,
)
