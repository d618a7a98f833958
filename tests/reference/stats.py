"""Reference numbers for crates/stats, from scipy, scikit-learn and, where neither has the test, from
plain enumeration. Run:  python tests/reference/stats.py > crates/stats/tests/reference.json"""
import json
import sys

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

HISTOGRAMS = [
    ([100, 100, 100, 100], [30, 20, 28, 22]),
    ([250, 250, 250, 250], [10, 40, 90, 160]),
    ([900, 90, 9, 1], [95, 4, 0, 1]),
    ([1000, 0, 500], [0, 20, 480]),
    ([50] * 20, [3, 9, 4, 5, 5, 6, 2, 8, 5, 4, 7, 5, 3, 6, 5, 4, 9, 1, 5, 4]),
    ([7, 0, 5], [3, 0, 9]),
    ([100000, 200000, 300000], [101, 190, 330]),
]
PROPORTIONS = [(0, 10), (10, 10), (3, 20), (180, 1000), (1, 5000), (4990, 5000), (41234, 100000)]


def drift():
    out = []
    for reference, observed in HISTOGRAMS:
        x, y = np.array(reference, float), np.array(observed, float)
        used = x + y > 0
        x, y = x[used], y[used]
        n, m, bins = x.sum(), y.sum(), len(x)
        a, b = (x + 0.5) / (n + bins / 2), (y + 0.5) / (m + bins / 2)
        psi = float(((a - b) * np.log(a / b)).sum())
        statistic = psi * n * m / (n + m)
        chi = stats.chi2_contingency(np.stack([x, y]), correction=False)
        out.append(
            dict(
                reference=reference,
                observed=observed,
                psi=psi,
                psi_p_value=float(stats.chi2.sf(statistic, bins - 1)),
                js=float(jensenshannon(x / n, y / m, base=2) ** 2),
                chi_square=float(chi.statistic),
                chi_square_p_value=float(chi.pvalue),
            )
        )
    return out


def proportions():
    out = []
    for successes, trials in PROPORTIONS:
        test = stats.binomtest(successes, trials)
        for confidence in (0.9, 0.95, 0.999):
            wilson = test.proportion_ci(confidence, method="wilson")
            exact = test.proportion_ci(confidence, method="exact")
            one_sided = stats.binomtest(successes, trials, alternative="less").proportion_ci(confidence, "exact")
            out.append(
                dict(
                    successes=successes,
                    trials=trials,
                    confidence=confidence,
                    wilson=[wilson.low, wilson.high],
                    exact=[exact.low, exact.high],
                    upper=one_sided.high,
                )
            )
    return out


def adjusted():
    rng = np.random.default_rng(3)
    cases = [[0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.2, 0.9, 1.0, 1e-12], rng.random(30).tolist()]
    return [dict(p_values=p, adjusted=stats.false_discovery_control(p).tolist()) for p in cases]


def mcnemar():
    cases = [(0, 0), (1, 8), (15, 5), (40, 41), (300, 220)]
    return [
        dict(b=b, c=c, p_value=float(stats.binomtest(min(b, c), b + c, 0.5).pvalue) if b + c else 1.0)
        for b, c in cases
    ]


def fisher():
    cases = [(3, 100, 10, 1000), (9, 100, 10, 1000), (0, 50, 0, 60), (50, 50, 1, 60), (5, 4000, 30, 80000)]
    return [
        dict(
            counts=[a, n, c, m],
            p_value=float(stats.fisher_exact([[a, n - a], [c, m - c]], alternative="greater").pvalue),
        )
        for a, n, c, m in cases
    ]


def score(n, lost, won, margin):
    """Tango's statistic, the constrained maximum found numerically rather than by its formula."""
    from scipy.optimize import minimize_scalar

    def loss(q):
        terms = 0.0
        for count, p in ((lost, q + margin), (won, q), (n - lost - won, 1 - 2 * q - margin)):
            if count:
                terms -= count * np.log(max(p, 1e-300))
        return terms

    top = (1 - margin) / 2
    q = minimize_scalar(loss, bounds=(0, top), method="bounded", options=dict(xatol=1e-12)).x
    for end in (0.0, top):
        if loss(end) <= loss(q):
            q = end
    variance = n * (2 * q + margin * (1 - margin))
    numerator = n * margin - (lost - won)
    return 0.0 if variance <= 1e-12 and abs(numerator) < 1e-9 else numerator / np.sqrt(max(variance, 1e-30))


def non_inferiority():
    """Every outcome of the trinomial enumerated, the rate of disagreement swept finely."""
    miss, out = 1e-4, []
    for both, lost, won, neither, margin in ((30, 2, 3, 5, 0.05), (50, 0, 0, 10, 0.05), (40, 6, 2, 2, 0.1), (60, 3, 9, 8, 0.0)):
        n = both + lost + won + neither
        seen = score(n, lost, won, margin)
        outcomes = [
            (i, j)
            for i in range(n + 1)
            for j in range(n + 1 - i)
            if score(n, i, j, margin) >= seen - 1e-6 * (1 + abs(seen))
        ]
        discordant = stats.binomtest(lost + won, n).proportion_ci(1 - 2 * miss, "exact")
        low, high = max(discordant.low, margin), max(discordant.high, margin)
        worst = 0.0
        for rate in np.linspace(low, high, 61):
            p = np.array([(rate + margin) / 2, (rate - margin) / 2, 1 - rate])
            i, j = np.array(outcomes).T
            worst = max(worst, float(stats.multinomial.pmf(np.stack([i, j, n - i - j], 1), n, p).sum()))
        out.append(dict(counts=[both, lost, won, neither], margin=margin, p_value=min(1.0, worst + 2 * miss)))
    return out


def classification():
    rng = np.random.default_rng(5)
    out = []
    for classes, rows in ((2, 300), (4, 500), (3, 40)):
        truth = rng.integers(0, classes, rows)
        predicted = np.where(rng.random(rows) < 0.7, truth, rng.integers(0, max(classes - 1, 1), rows))
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            truth, predicted, labels=range(classes), zero_division=0
        )
        macro = metrics.precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
        out.append(
            dict(
                classes=classes,
                truth=truth.tolist(),
                predicted=predicted.tolist(),
                accuracy=metrics.accuracy_score(truth, predicted),
                macro=[float(v) for v in macro[:3]],
                precision=precision.tolist(),
                recall=recall.tolist(),
                f1=f1.tolist(),
                support=support.tolist(),
            )
        )
    return out


def calibration():
    rng = np.random.default_rng(6)
    confidence = np.round(rng.beta(6, 2, 400), 4)
    correct = rng.random(400) < confidence**1.4
    edges = np.linspace(0, 1, 11)
    which = np.clip(np.ceil(confidence * 10).astype(int) - 1, 0, 9)
    error = sum(abs(correct[which == k].sum() - confidence[which == k].sum()) for k in range(10)) / 400
    return dict(confidences=confidence.tolist(), correct=correct.tolist(), edges=edges.tolist(), error=float(error))


def e_process():
    """The wealth straight from its definition: a sum over times of entry and stakes, no recursion."""
    rng = np.random.default_rng(8)
    fractions = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7])
    out = []
    for null, rate, labels in ((0.2, 0.2, 200), (0.05, 0.15, 150), (0.3, 0.1, 100)):
        x = rng.random(labels) < rate
        factors = 1 + fractions[None] / null * (x[:, None].astype(float) - null)
        reserve = 0.5 * 1000 / (1000 + np.arange(labels + 1))
        wealth = reserve[labels] + 0.5 * np.prod(factors, 0).mean()
        for t in range(labels):
            wealth += (reserve[t] - reserve[t + 1]) * np.prod(factors[t:], 0).mean()
        out.append(dict(null_error=null, labels=x.tolist(), log_wealth=float(np.log(wealth))))
    return out


def temperature():
    """Guo et al.'s temperature by a general minimiser over ln T."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rng = np.random.default_rng(9)
    out = []
    for classes, rows, scale in ((2, 60, 4.0), (3, 80, 0.3), (6, 90, 1.0)):
        truth = rng.integers(0, classes, rows)
        logits = rng.normal(size=(rows, classes))
        logits[np.arange(rows), truth] += 1.0
        logits = np.round(logits * scale, 3).astype(np.float32).astype(np.float64)
        loss = lambda t: -log_softmax(logits / t, axis=1)[np.arange(rows), truth].mean()
        best = minimize_scalar(lambda u: loss(np.exp(u)), bounds=(-3, 3), method="bounded", options=dict(xatol=1e-12))
        out.append(
            dict(
                logits=np.round(logits, 3).tolist(),
                truth=truth.tolist(),
                temperature=float(np.exp(best.x)),
                before=float(loss(1.0)),
                after=float(best.fun),
            )
        )
    return out


def corrected():
    """Nadeau and Bengio's interval of a mean over folds."""
    out = []
    for scores, confidence in (([0.81, 0.84, 0.79, 0.86, 0.83], 0.95), ([0.5, 0.9], 0.9), ([0.7] * 3 + [0.75] * 7, 0.99)):
        k = len(scores)
        ratio = 1 / (k - 1)
        half = stats.t.ppf(0.5 + confidence / 2, k - 1) * np.sqrt((1 / k + ratio) * np.var(scores, ddof=1))
        mean = float(np.mean(scores))
        out.append(dict(scores=scores, ratio=ratio, confidence=confidence, interval=[mean - half, mean, mean + half]))
    return out


if __name__ == "__main__":
    json.dump(
        dict(
            drift=drift(),
            proportions=proportions(),
            adjusted=adjusted(),
            mcnemar=mcnemar(),
            fisher=fisher(),
            non_inferiority=non_inferiority(),
            classification=classification(),
            calibration=calibration(),
            e_process=e_process(),
            temperature=temperature(),
            corrected=corrected(),
        ),
        sys.stdout,
    )
    print()
