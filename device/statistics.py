"""How sure a share is, and how far two people agree: the formulas behind the Today page."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

Z_95 = NormalDist().inv_cdf(0.975)
"""The normal quantile of a two-sided 95 % interval, 1.96."""


class Interval(NamedTuple):
    """From a share to a share, both from 0 to 1."""

    low: float
    high: float


def wilson(right: int, total: int) -> Interval:
    """The 95 % score interval of Wilson (1927) for a share of which `right` of `total` were seen.

    With p = right/total: (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n). Unlike p ± 1.96·σ it
    stays within 0 and 1 and does not shrink to nothing where all or none were right. Nothing
    seen: from 0 to 1.
    """
    if total == 0:
        return Interval(0.0, 1.0)
    p, zz = right / total, Z_95**2 / total
    middle = p + zz / 2
    half = Z_95 * math.sqrt(p * (1 - p) / total + zz / (4 * total))
    low, high = ((middle + sign * half) / (1 + zz) for sign in (-1, 1))
    # At the ends the formula is exactly 0 or 1, but for rounding.
    return Interval(0.0 if right == 0 else low, 1.0 if right == total else high)


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
