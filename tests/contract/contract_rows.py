"""What is held to the contract: a row for every public transform and recipe.

A row names the properties that its method claims and the clauses it may miss, each with a reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType

import optlab as ol

REMEMBERS = "a NaN gradient stays in the running statistics until they are reset"
CONTAINERS = [
    name[len("container[") : -1] for name in ol.testing.clauses() if name.startswith("container[")
]

LOCAL = ("leaf_local", "nan_stays_in_its_leaf")
STILL = ("zero_gradient_gives_zero_update",)
STEPS = ("linear_in_learning_rate",)
METHOD = (*LOCAL, *STILL, *STEPS, "odd", "accumulation")
ADAPTIVE = (*METHOD, "scale_invariant")


@dataclasses.dataclass(frozen=True)
class Row:
    """`make()` gives the transformation; see `check_transformation` for the rest."""

    make: Callable[[], Any]
    claims: tuple[str, ...] = ()
    allow: dict[str, str] = dataclasses.field(default_factory=dict)


def data_mesh() -> jax.sharding.Mesh:
    """That of the clause on sharding: the parameters of both must lie on one."""
    devices = jax.devices()[: 4 if jax.device_count() >= 4 else jax.device_count()]
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def moments(**options: Any) -> ol.Transformation:
    return ol.accumulate_moments(**options)


STATEFUL = {"nan_recovery": REMEMBERS}
LINK = (*LOCAL, *STILL, "odd", "accumulation")

TRANSFORMS = {
    "accumulate_average": Row(lambda: ol.accumulate_average(0.9), LINK, STATEFUL),
    "accumulate_gradients": Row(
        lambda: ol.transforms.accumulate_gradients(ol.adam(1e-2), 2),
        METHOD,
        {"learning_rate_zero": "the fifth micro-batch ends no optimizer step"},
    ),
    "accumulate_momentum": Row(lambda: ol.accumulate_momentum(0.9), LINK, STATEFUL),
    "accumulate_moments": Row(lambda: ol.chain(moments(), ol.divide_by_rms()), LINK, STATEFUL),
    "adaptive_clip": Row(lambda: ol.adaptive_clip(0.1), LINK),
    "add_decayed_weights": Row(lambda: ol.add_decayed_weights(0.1), (*LOCAL, "odd")),
    "add_gradient_noise": Row(
        lambda: ol.add_gradient_noise(0.1),
        LOCAL,
        {
            "permutation_of_axes": "noise belongs to an entry's place",
            **dict.fromkeys(
                [
                    "permutation_of_leaves",
                    "passes_through_frameworks",
                    *(f"container[{kind}]" for kind in CONTAINERS if kind != "tuple"),
                ],
                "noise belongs to a leaf's path",
            ),
        },
    ),
    "add_l1": Row(lambda: ol.add_l1(0.1), (*LOCAL, "odd")),
    "add_l2": Row(lambda: ol.add_l2(0.1), (*LOCAL, "odd")),
    "average_params": Row(lambda: ol.average_params(ol.adam(1e-2)), ADAPTIVE, STATEFUL),
    "centralize": Row(ol.centralize, LINK),
    "clip_by_global_norm": Row(
        lambda: ol.clip_by_global_norm(1.0), (*STILL, "odd", "accumulation")
    ),
    "clip_by_norm": Row(lambda: ol.clip_by_norm(1.0), LINK),
    "clip_by_rms": Row(lambda: ol.clip_by_rms(1.0), LINK),
    "clip_by_value": Row(lambda: ol.clip_by_value(1.0), LINK),
    "correct_bias": Row(
        lambda: ol.chain(moments(), ol.correct_bias(), ol.divide_by_rms()), LINK, STATEFUL
    ),
    "divide_by_rectified_rms": Row(
        lambda: ol.chain(moments(), ol.divide_by_rectified_rms()), LINK, STATEFUL
    ),
    "divide_by_rms": Row(
        lambda: ol.chain(moments(b1=None), ol.divide_by_rms(eps_root=1e-12)), LINK, STATEFUL
    ),
    "dynamic_loss_scale": Row(lambda: ol.transforms.dynamic_loss_scale(ol.adam(1e-2)), METHOD),
    "freeze": Row(ol.freeze, LOCAL),
    "guard": Row(lambda: ol.transforms.guard(ol.adam(1e-2), spike=10.0), METHOD),
    "interpolate_momentum": Row(lambda: ol.interpolate_momentum(), LINK, STATEFUL),
    "keep_maximum": Row(
        lambda: ol.chain(moments(), ol.keep_maximum(), ol.divide_by_rms()), LINK, STATEFUL
    ),
    "look_ahead": Row(
        lambda: ol.chain(moments(), ol.look_ahead(0.004), ol.divide_by_rms()), LINK, STATEFUL
    ),
    "lookahead": Row(lambda: ol.lookahead(ol.adam(1e-2), 3), METHOD, STATEFUL),
    "offload": Row(
        lambda: ol.transforms.offload(ol.adam(1e-2)), (*METHOD, "scale_invariant"), STATEFUL
    ),
    "probe": Row(lambda: ol.transforms.probe(ol.adam(1e-2), every=2), ADAPTIVE, STATEFUL),
    "route": Row(lambda: ol.route({ol.everything: ol.adam(1e-2)}), LINK, STATEFUL),
    "scale": Row(lambda: ol.scale(3.0), LINK),
    "scale_by_adadelta": Row(lambda: ol.scale_by_adadelta(), LINK, STATEFUL),
    "scale_by_learning_rate": Row(lambda: ol.scale_by_learning_rate(0.1), METHOD),
    "scale_by_parameter_rms": Row(
        lambda: ol.scale_by_parameter_rms(),
        LINK,
        dict.fromkeys(
            ["huge", "spike_recovery", "float16_gradients[large]"],
            "the second update is multiplied by what the first has made of the parameters",
        ),
    ),
    "scale_by_trust_ratio": Row(lambda: ol.scale_by_trust_ratio(), LINK),
    "schedule_free": Row(lambda: ol.schedule_free(ol.adam(1e-2, b1=0.0)), METHOD, STATEFUL),
    "sign": Row(ol.sign, (*LINK, "scale_invariant")),
    "store": Row(
        lambda: ol.transforms.store(
            ol.adam(1e-2),
            {"first": ol.storage.bf16(), "second": ol.storage.int8()},
            where=ol.everything,
            min_size=12,
        ),
        METHOD,
        STATEFUL | {"permutation_of_axes": "rounding belongs to an entry's place"},
    ),
    "subtract_squared_mean": Row(
        lambda: ol.chain(moments(b2=0.9), ol.subtract_squared_mean(), ol.divide_by_rms(1e-2)),
        LINK,
        STATEFUL,
    ),
    "with_master": Row(
        lambda: ol.transforms.with_master(ol.adam(1e-2)),
        METHOD,
        STATEFUL
        | {
            "bfloat16_accuracy": "an update is the step from one bfloat16 number to another",
            "low_precision_second_moment": "updates that are not applied come again with the next",
        },
    ),
    "zero1": Row(
        lambda: ol.transforms.zero1(ol.adam(1e-2), data_mesh()),
        (*METHOD, "scale_invariant"),
        STATEFUL | {"one_trace": "parameters of one device are on the mesh after the first step"},
    ),
}

RECIPES = {
    "adabelief": Row(lambda: ol.adabelief(1e-2), METHOD, STATEFUL),
    "adadelta": Row(lambda: ol.adadelta(1.0), METHOD, STATEFUL),
    "adafactor": Row(lambda: ol.adafactor(1e-2), METHOD, STATEFUL),
    "adagrad": Row(lambda: ol.adagrad(0.1), ADAPTIVE, STATEFUL),
    "adam": Row(lambda: ol.adam(1e-2), ADAPTIVE, STATEFUL),
    "adamax": Row(lambda: ol.adamax(1e-2), ADAPTIVE, STATEFUL),
    "adamw": Row(lambda: ol.adamw(1e-2), tuple(c for c in ADAPTIVE if c not in STILL), STATEFUL),
    "amsgrad": Row(lambda: ol.amsgrad(1e-2), ADAPTIVE, STATEFUL),
    "lamb": Row(lambda: ol.lamb(1e-2), METHOD, STATEFUL),
    "lars": Row(lambda: ol.lars(1.0), METHOD, STATEFUL),
    "lion": Row(lambda: ol.lion(1e-2), tuple(c for c in ADAPTIVE if c not in STILL), STATEFUL),
    "nadam": Row(lambda: ol.nadam(1e-2), ADAPTIVE, STATEFUL),
    "radam": Row(lambda: ol.radam(1e-2), METHOD, STATEFUL),
    "rmsprop": Row(lambda: ol.rmsprop(1e-2), ADAPTIVE, STATEFUL),
    "sgd": Row(lambda: ol.sgd(1e-2, momentum=0.9), METHOD, STATEFUL),
    "yogi": Row(lambda: ol.yogi(1e-2), METHOD, STATEFUL),
}

ROWS = TRANSFORMS | RECIPES
