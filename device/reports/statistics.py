"""How sure a share is, and how far two people agree: the formulas behind the Today page."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """From a share to a share, both from 0 to 1."""

    low: float
    high: float


def clopper_pearson(right: float, total: float) -> Interval:
    """The exact 95 % interval of Clopper and Pearson (1934), also for fractional counts.

    From the 2.5 % quantile of Beta(right, total - right + 1) to the 97.5 % quantile of
    Beta(right + 1, total - right). Unlike Wilson's score interval it holds the truth at least so
    often whatever it is, also where errors are rare and counts tiny; fractional counts are those
    of an effective sample size (Korn and Graubard 1998). Nothing seen: from 0 to 1.
    """
    if total <= 0:
        return Interval(0.0, 1.0)
    wrong = total - right
    low = beta_quantile(0.025, right, wrong + 1) if right > 0 else 0.0
    high = beta_quantile(0.975, right + 1, wrong) if wrong > 0 else 1.0
    return Interval(low, high)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The value under which a Beta(a, b) variable is with probability p, to 1e-9."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x from 0 to 1.

    By its continued fraction (DLMF 8.17.22), which converges fast for x < (a + 1) / (a + b + 2);
    beyond by I_x(a, b) = 1 - I_{1-x}(b, a).
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_fraction(1 - x, b, a)
    return _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    # Lentz's method: numerators and denominators grow out of all bounds, their ratios do not.
    tiny = 1e-300
    fraction, upper, lower = 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / ((1 + factor * lower) or tiny)
        upper = (1 + factor / upper) or tiny
        fraction *= upper * lower
        if abs(upper * lower - 1) < 1e-12:
            break
    return front / (a * fraction)


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's (1960) kappa of two people, of whom each rated every item: (first's, second's).

    κ = (p_o - p_e) / (1 - p_e), where p_o is the share rated alike and p_e = Σ_c a_c·b_c what
    two people with these shares of every category would rate alike by chance. None: there is
    nothing rated, or one category only, where chance explains everything.
    """
    total = len(pairs)
    first, second = (Counter(pair[i] for pair in pairs) for i in (0, 1))
    chance = sum(first[c] * second[c] for c in first)
    return _beyond_chance(sum(a == b for a, b in pairs), total, chance, total * total)


def fleiss_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Fleiss' (1971) kappa for two ratings of every item, whoever gave them.

    κ = (P - P_e) / (1 - P_e), where P is the share rated alike and P_e = Σ_c p_c² over the shares
    of all ratings (for two ratings it is Scott's pi). None: as for `cohen_kappa`.
    """
    total = len(pairs)
    ratings = Counter(rating for pair in pairs for rating in pair)
    chance = sum(n * n for n in ratings.values())
    return _beyond_chance(sum(a == b for a, b in pairs), total, chance, 4 * total * total)


def _beyond_chance(alike: int, total: int, chance: int, of: int) -> float | None:
    """Kappa from whole numbers: alike/total seen, chance/of expected."""
    if chance == of:  # also where there is nothing
        return None
    expected = chance / of
    return (alike / total - expected) / (1 - expected)


class Rating(NamedTuple):
    """What somebody said of an item."""

    who: str
    said: str


class Agreement(NamedTuple):
    """How far people agree on items that two of them rated."""

    pairs: int
    alike: int
    kappa: float | None
    people: tuple[str, str] | None
    """The two people, where it is Cohen's kappa; None: Fleiss', for there are more."""


def agreement(pairs: Sequence[tuple[Rating, Rating]]) -> Agreement:
    """Cohen's kappa where all pairs are of the same two people, else Fleiss'."""
    ratings = [(first.said, second.said) for first, second in pairs]
    alike = sum(a == b for a, b in ratings)
    people = sorted({rating.who for pair in pairs for rating in pair})
    if len(people) == 2 and all(first.who != second.who for first, second in pairs):
        one, other = people
        ordered = [(a.said, b.said) if a.who == one else (b.said, a.said) for a, b in pairs]
        return Agreement(len(pairs), alike, cohen_kappa(ordered), (one, other))
    return Agreement(len(pairs), alike, fleiss_kappa(ratings), None)
