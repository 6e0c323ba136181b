"""The statistics of comparisons: calibrated where nothing differs, able to see what does."""

import itertools

import hypothesis
import hypothesis.strategies as hs
import numpy as np
import pytest

from optlab.lab import _statistics as stats

LEVEL = 0.05


def tuning(rng, *, shift=0.0, noise=0.02, width=0.3, trials=20, seeds=None, keep=None):
    """A study of an optimizer with a bowl of losses over its one hyperparameter, half of a unit
    wide, and failures beyond; only the first `keep` trials are tested."""
    place = rng.random(trials)
    loss = 0.1 * ((place - 0.6) / width) ** 2 + shift
    seeds = 0.02 * rng.standard_normal(5) if seeds is None else seeds
    scores = loss + noise * rng.standard_normal(trials)
    tests = loss[:, None] + noise * rng.standard_normal((trials, len(seeds))) + seeds
    failed = place > 0.6 + 1.2 * width
    scores[failed] = tests[failed] = np.inf
    one = stats.study(scores, tests, rng.random(trials))
    if keep is not None:
        tests[one.order[keep:]] = np.nan
    return stats.study(one.scores, tests, one.ties)


def two_tunings(rng, studies, shift=0.0, keep=None, **options):
    pairs = []
    for _ in range(studies):
        seeds = 0.02 * rng.standard_normal(5)
        pairs.append(
            [tuning(rng, shift=s, seeds=seeds, keep=keep, **options) for s in (0.0, shift)]
        )
    return tuple(map(list, zip(*pairs, strict=True)))


def wins_of_naive_test(a, b):
    """A paired t test over the test seeds of the winners, which is not used, at 5 %."""
    d = np.concatenate(
        [x.tests[x.order[0]] - y.tests[y.order[0]] for x, y in zip(a, b, strict=True)]
    )
    critical = {5: 2.776, 15: 2.145}[len(d)]
    return abs(d.mean()) > critical * d.std(ddof=1) / np.sqrt(len(d))


def verdict(a, b, finalists):
    p = stats.exchange_test(a, b, finalists)
    x, y = (stats.replicates(s, key=[0, i + 2], resamples=300) for i, s in enumerate((a, b)))
    share = max(stats.share_better(x, y), stats.share_better(y, x))
    return p <= LEVEL and share >= 1 - LEVEL / 2


# --- calibration and power


@pytest.mark.parametrize(("studies", "keep"), [(1, 7), (3, 5)])
@pytest.mark.parametrize("options", [{}, {"noise": 0.002}, {"width": 0.05}])
def test_one_optimizer_under_two_names_is_rarely_found_to_differ(studies, keep, options):
    rng = np.random.default_rng(0)
    pairs = [two_tunings(rng, studies, keep=keep, **options) for _ in range(300)]
    p = np.array([stats.exchange_test(a, b, keep) for a, b in pairs])
    # 300 draws at 5 %: above 27 with probability 0.2 %.
    assert np.sum(p <= LEVEL) <= 27
    assert np.sum(p <= 0.01) <= 9
    assert np.mean([verdict(a, b, keep) for a, b in pairs]) <= 0.05


def test_a_paired_test_of_the_winners_would_find_an_optimizer_to_differ_from_itself():
    rng = np.random.default_rng(1)
    pairs = [two_tunings(rng, 3, width=0.05) for _ in range(300)]
    failed = np.array([wins_of_naive_test(a, b) for a, b in pairs])
    assert failed.mean() > 0.15


def test_where_all_trials_are_tested_the_test_is_exact():
    rng = np.random.default_rng(2)
    p = np.array([stats.exchange_test(*two_tunings(rng, 1)) for _ in range(400)])
    for level in (0.1, 0.3, 0.5):
        assert abs(np.mean(p <= level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


@pytest.mark.parametrize(("studies", "keep", "shift"), [(1, 7, 0.08), (3, 5, 0.05)])
def test_a_true_difference_is_found(studies, keep, shift):
    rng = np.random.default_rng(3)
    found = [verdict(*two_tunings(rng, studies, shift=shift, keep=keep), keep) for _ in range(60)]
    assert np.mean(found) > 0.9


def test_the_finalists_suffice_to_reject_among_many_comparisons():
    for studies, comparisons in itertools.product((1, 2, 3, 5), (1, 15, 120)):
        finalists = stats.finalists_needed(20, studies, comparisons, LEVEL)
        rng = np.random.default_rng(4)
        a, b = two_tunings(rng, studies, shift=1.0, width=1.0, keep=finalists)
        assert stats.exchange_test(a, b, finalists) * comparisons <= LEVEL


def test_no_data_give_less_than_the_smallest_p_value():
    for trials, studies, finalists in ((20, 1, 7), (6, 2, 6), (5, 1, 3)):
        a = [stats.study(np.arange(trials), np.zeros((trials, 2))) for _ in range(studies)]
        b = [stats.study(np.arange(trials) + 99, np.ones((trials, 2))) for _ in range(studies)]
        smallest = stats.smallest_p(trials, studies, finalists)
        assert stats.exchange_test(a, b, finalists) == pytest.approx(smallest, rel=0.3)


# --- laws

arrays = hs.integers(0, 2**32 - 1).map(np.random.default_rng)


def integers(rng, trials=6, seeds=3, top=12):
    """A study with ties and failures."""
    scores = rng.integers(0, top, trials).astype(float)
    tests = rng.integers(0, top, (trials, seeds)).astype(float)
    tests[rng.random(tests.shape) < 0.1] = np.inf
    scores[rng.random(trials) < 0.2] = np.inf
    return stats.study(scores, tests, rng.integers(0, 3, trials))


@hypothesis.given(arrays)
def test_which_name_comes_first_does_not_matter(rng):
    a, b = [integers(rng) for _ in range(2)], [integers(rng) for _ in range(2)]
    assert stats.exchange_test(a, b) == stats.exchange_test(b, a)


@hypothesis.given(arrays)
def test_an_increasing_function_of_the_metric_changes_nothing(rng):
    a, b = [integers(rng)], [integers(rng)]

    def bent(one):
        return stats.study(np.exp(one.scores) - 2, one.tests**3 + 5, one.ties)

    bent_a, bent_b = [bent(one) for one in a], [bent(one) for one in b]
    assert stats.exchange_test(a, b) == stats.exchange_test(bent_a, bent_b)
    shares = []
    for x, y in ((a, b), (bent_a, bent_b)):
        x, y = (stats.replicates(s, key=[0, i], resamples=99) for i, s in enumerate((x, y)))
        shares.append((stats.share_better(x, y), stats.share_better(y, x)))
    assert shares[0] == shares[1]
    assert stats.score(bent_a) == stats.score(a) ** 3 + 5


@hypothesis.given(arrays)
def test_equal_data_never_differ(rng):
    a = [integers(rng, trials=8) for _ in range(3)]
    assert stats.exchange_test(a, a) > 0.5


@hypothesis.given(arrays)
def test_p_values_are_probabilities_and_tests_of_also_rans_do_not_matter(rng):
    a, b = integers(rng), integers(rng)
    p = stats.exchange_test([a], [b], finalists=3)
    assert 0 < p <= 1

    def without(one):
        tests = one.tests.copy()
        tests[one.order[3:]] = np.nan
        return stats.study(one.scores, tests, one.ties)

    assert stats.exchange_test([without(a)], [without(b)], finalists=3) == p


@hypothesis.given(hs.lists(hs.floats(0, 1), min_size=1, max_size=8))
def test_holm_adjusts_upwards_keeps_the_order_and_stops_at_one(p):
    adjusted = stats.holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= 1)
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(adjusted[order]) >= 0)
    assert adjusted[order[0]] == min(1, len(p) * min(p))


def test_holm_of_a_worked_example():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


# --- scores and intervals


def test_scores_are_what_more_than_half_reach():
    assert stats.median_high(np.array([1.0, 2.0, np.inf])) == 2.0
    assert stats.median_high(np.array([1.0, 2.0, 3.0, np.inf])) == 3.0
    one = stats.study([2.0, 1.0], [[0, 0, 0], [5, np.nan, 4]])
    assert stats.score([one]) == 5.0


def test_failed_trials_lose_and_need_no_test():
    one = stats.study([np.nan, 3.0], [[np.nan] * 2, [1, 2]])
    assert list(one.order) == [1, 0]
    assert list(one.known) == [True, True]
    assert np.isinf(one.tests[0]).all()


def test_intervals_cover_the_luck_of_tuning():
    """A winner that is one lucky trial of many is often missed by tuning again."""
    scores = [0.0, *[1.0] * 9]
    one = stats.study(scores, np.repeat(np.array(scores)[:, None], 5, axis=1))
    drawn = stats.replicates([one], key=[0, 0], resamples=4000)
    assert stats.interval(drawn) == (0.0, 1.0)
    missed = (1 - 1 / 10) ** 10
    assert abs(np.mean(drawn) - missed) < 0.03


def test_intervals_with_failures_have_failures_for_ends():
    values = np.array([1.0] * 90 + [np.inf] * 10)
    assert stats.interval(values) == (1.0, np.inf)


def test_test_seeds_are_paired():
    """What a seed does to all is no difference, and no doubt about one."""
    seeds = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    a, b = (stats.study([0.0], [seeds + shift]) for shift in (0.0, 0.1))
    x, y = (stats.replicates([s], key=[7, i], resamples=500) for i, s in enumerate((a, b)))
    assert stats.share_better(x, y) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([2, 1], [1], "2 studies against 1"),
        ([(4, 3)], [(5, 3)], "tunings of 4 and 5 trials"),
        ([(4, 3)], [(4, 2)], "on 3 and 2 test seeds"),
    ],
)
def test_unequal_budgets_are_refused(a, b, message):
    def studies(shapes):
        shapes = [s if isinstance(s, tuple) else (4, 3) for s in shapes]
        return [stats.study(np.arange(n), np.ones((n, t))) for n, t in shapes]

    with pytest.raises(ValueError, match=message):
        stats.exchange_test(studies(a), studies(b))
