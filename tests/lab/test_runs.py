"""What experiments are asked for: tasks, steps and seeds."""

import pytest

from optlab import lab, optimizers

SPACE = {"learning_rate": lab.grid([0.1, 1.0])}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("digits_mlp", r"expected a Task, got 'digits_mlp'; make one: optlab.lab.tasks.digits_mlp"),
        (lab.tasks.quadratic, r"got the function quadratic; call it: quadratic\(\)"),
        (3, "expected a Task, got 3; make one"),
    ],
)
def test_what_is_no_task_is_refused_with_the_remedy(task, message):
    two = {"a": optimizers.sgd, "b": optimizers.adam}
    for call in (
        lambda: lab.sweep(task, optimizers.sgd, SPACE),
        lambda: lab.compare(task, two, space=SPACE),
        lambda: lab.compare([task], two, space=SPACE),
    ):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"halving": 1}, "sweep: halving must be >= 2"),
        ({"seed": -1}, "sweep: seed must be a whole number >= 0, got -1"),
        ({"evaluations": 0}, "sweep: evaluations must be a whole number >= 1"),
        ({"plan": "fast"}, 'sweep: plan must be "auto", "exact" or a Plan'),
    ],
)
def test_what_a_sweep_refuses_leaves_no_store_behind(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        lab.sweep(
            lab.tasks.quadratic(), optimizers.sgd, SPACE, store=tmp_path / "study.db", **options
        )
    assert not list(tmp_path.iterdir())


def test_lists_with_budget_enough_are_tried_once_each():
    results = lab.sweep(
        lab.tasks.quadratic(), optimizers.sgd, SPACE, steps=2, budget=5, progress=False
    )
    assert [trial.hyperparameters["learning_rate"] for trial in results.trials] == [0.1, 1.0]
