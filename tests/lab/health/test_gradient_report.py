"""Where a report finds its samples, what it shows, and what it refuses."""

import ill_networks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab import optimizers, transforms
from optlab.lab.health import Finding, gradient_report


@pytest.fixture(scope="module")
def trained():
    return ill_networks.train(transforms.scale(-0.5), batch=512)


@pytest.fixture(scope="module")
def report(trained):
    return gradient_report(trained[0], losses=trained[1])


def test_rows_are_tidy(report):
    rows = report.rows
    assert len(rows) == 60 * 3
    assert {len(row) for row in rows} == {len(rows[0])}
    assert (rows[0]["step"], rows[0]["group"]) == (1, "Dense_0")
    assert (rows[-1]["step"], rows[-1]["group"]) == (296, "Dense_2")
    assert rows[4]["update_ratio"] == report.samples.columns["update_ratio"][1, 1]


def test_a_report_of_rows_is_the_same(report):
    again = gradient_report(report.rows)
    assert str(again.rows) == str(report.rows)
    assert [f.rule for f in again.findings] == [f.rule for f in report.findings]


def test_states_of_one_run_are_joined():
    tx = transforms.probe(optimizers.sgd(0.1), every=1, history=2)
    params = {"w": jnp.ones((2, 2))}
    state, states = tx.init(params), []
    step = jax.jit(tx.update)
    for i in range(4):
        _, state = step({"w": jnp.full((2, 2), i + 1.0)}, state, params)
        states.append(state)
    joined = gradient_report(states[1:])
    assert joined.samples.steps.tolist() == [1, 2, 3, 4]
    assert [row["gradient_norm"] for row in joined.rows] == [2.0, 4.0, 6.0, 8.0]
    assert gradient_report(state).samples.steps.tolist() == [3, 4]


def test_the_probe_is_found_inside_other_states(trained):
    around = {"opt": (trained[0], jnp.zeros(2)), "step": 3}
    assert gradient_report(around).samples.steps.tolist()[:2] == [1, 6]
    tx = transforms.guard(transforms.probe(optimizers.sgd(0.1)))
    params = {"w": jnp.ones(2)}
    _, state = tx.update(params, tx.init(params), params)
    assert len(gradient_report(state).rows) == 1


def test_it_prints_in_100_columns(report):
    text = str(report)
    assert max(map(len, text.splitlines())) <= 100
    for part in ("edge of stability", "arXiv:2103.00065", "Dense_2", "threshold -0.5"):
        assert part in text


def test_long_names_are_printed_in_100_columns():
    name = "encoder_of_a_very_long_name" * 5
    tx = transforms.probe(optimizers.adam(1e-3))
    params = {f"{name}_{i}": {"w": jnp.ones((2, 2))} for i in range(50)}
    _, state = jax.jit(tx.update)(params, tx.init(params), params)
    text = str(gradient_report(state))
    assert max(map(len, text.splitlines())) <= 100
    assert "and 10 more groups" in text


def test_findings_say_everything(report):
    (finding,) = report.findings
    assert isinstance(finding, Finding)
    assert (finding.first_step, finding.last_step) == (151, 296)
    assert -1 <= finding.value < finding.threshold == -0.5
    for part in (finding.rule, finding.measure, finding.source, finding.advice):
        assert part
        assert part in str(finding)


def test_losses_may_be_given_by_update(trained):
    given = {int(i) + 1: float(loss) for i, loss in enumerate(trained[1])}
    assert gradient_report(trained[0], losses=given).losses.tolist() == trained[1].tolist()


def test_the_picture_has_layers_ratios_and_losses(report):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = report.plot()
    figure.canvas.draw()
    top, middle, bottom = figure.axes[:3]
    assert [t.get_text() for t in top.get_yticklabels()] == ["Dense_0", "Dense_1", "Dense_2"]
    assert "update norm / weight norm" in middle.get_xlabel()
    assert len(bottom.lines[0].get_xdata()) == 300
    assert figure.get_size_inches()[0] * figure.dpi == 800
    matplotlib.pyplot.close(figure)


def test_the_legend_of_ratios_covers_no_bar():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    tx = transforms.probe(optimizers.sgd(0.1))
    params = {f"encoder_block_{i}": {"kernel": jnp.eye(2)} for i in range(8)}
    _, state = jax.jit(tx.update)(params, tx.init(params), params)
    figure = gradient_report(state).plot()
    figure.canvas.draw()
    middle = figure.axes[1]
    legend = middle.get_legend().get_window_extent()
    assert not legend.overlaps(middle.get_window_extent())
    assert not legend.overlaps(middle.xaxis.label.get_window_extent())
    assert not legend.overlaps(figure.axes[2].title.get_window_extent())
    matplotlib.pyplot.close(figure)


def test_a_state_without_a_probe_is_refused():
    state = optimizers.adam(1e-3).init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"there is no probe in this tuple.*optlab.probe\(tx\)"):
        gradient_report(state)


@pytest.mark.parametrize("nothing", [[], {}, None], ids=repr)
def test_nothing_is_refused(nothing):
    with pytest.raises(ValueError, match="there is no probe"):
        gradient_report(nothing)


def test_a_report_before_the_first_sample_is_refused():
    state = transforms.probe(optimizers.sgd(0.1)).init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"no sample yet.*takes one at the first update"):
        gradient_report(state)


def test_several_probes_are_refused(trained):
    with pytest.raises(ValueError, match=r"2 probes in this state, of the groups Dense_0"):
        gradient_report({"a": trained[0], "b": trained[0]})


def test_a_population_is_refused_until_one_is_chosen(trained):
    several = jax.tree.map(lambda x: jnp.stack([x, x]), trained[0])
    with pytest.raises(ValueError, match=r"population of states, \(2,\)"):
        gradient_report(several)
    one = jax.tree.map(lambda x: x[1], several)
    assert len(gradient_report(one).samples.steps) == 60


def test_states_of_other_networks_are_refused(trained):
    tx = transforms.probe(optimizers.sgd(0.1))
    params = {"w": jnp.ones(2)}
    _, other = tx.update(params, tx.init(params), params)
    with pytest.raises(ValueError, match="probes that differ"):
        gradient_report([trained[0], other])


def test_traced_states_are_refused(trained):
    with pytest.raises(TypeError, match=r"outside of jit"):
        jax.jit(lambda s: gradient_report(s).losses)(trained[0])


def test_losses_in_another_form_are_refused(trained):
    with pytest.raises(ValueError, match=r"an array of shape \(2, 3\)"):
        gradient_report(trained[0], losses=np.ones((2, 3)))


@pytest.mark.parametrize("count", [0, 5, 299, 301])
def test_losses_of_other_updates_are_refused(trained, count):
    with pytest.raises(ValueError, match=f"there are {count} losses, but 300 updates were done"):
        gradient_report(trained[0], losses=np.ones(count))
    with pytest.raises(ValueError, match=r"losses are of updates \d+ to .*, but updates 1 to 300"):
        gradient_report(trained[0], losses={count: 1.0, 301: 1.0})


def test_losses_of_rows_reach_the_last_sample(report):
    assert len(gradient_report(report.rows, losses=np.ones(296)).losses) == 296
    with pytest.raises(ValueError, match="295 losses, but at least 296 updates"):
        gradient_report(report.rows, losses=np.ones(295))


@pytest.mark.parametrize("losses", ["loss", ["1"] * 300, {1: "1"}, {"1": 1.0}], ids=repr)
def test_losses_that_are_no_numbers_are_refused(trained, losses):
    with pytest.raises(TypeError, match=r"losses must be numbers|whole numbers as keys"):
        gradient_report(trained[0], losses=losses)


def test_rows_that_are_not_whole_are_refused(report):
    with pytest.raises(ValueError, match="179 rows do not hold 3 groups"):
        gradient_report(report.rows[1:])
