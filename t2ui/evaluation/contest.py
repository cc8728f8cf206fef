"""Who answers most questions of a set right, and whether that is more than luck. Plain numbers."""

from collections.abc import Sequence

from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.records import Decision, PairedTest, RightAnswers


def decide(entries: Sequence[Sequence[bool]], rivals: Sequence[Sequence[bool]] = ()) -> Decision:
    """Compare mixtures on the same questions, which none of them was tuned on.

    The best entry is chosen by the answers that it is then tested on: of k entries the best is
    partly the luckiest, and its p values times k (Bonferroni) are the ones to believe.

    Args:
        entries: for each, whether it answered each question right; the earlier of equals is ahead.
        rivals: the same of what the best entry is tested against.

    Raises:
        ValueError: they did not all answer as many questions.
    """
    counts = [sum(right) for right in entries]
    best = counts.index(max(counts)) if counts else None
    tests = () if best is None else tuple(_tested(entries[best], rival) for rival in rivals)
    return Decision(tuple(map(_counted, entries)), tuple(map(_counted, rivals)), best, tests)


def _counted(right: Sequence[bool]) -> RightAnswers:
    return RightAnswers(tuple(right), *wilson(sum(right), len(right)))


def _tested(entry: Sequence[bool], rival: Sequence[bool]) -> PairedTest:
    won = sum(e and not r for e, r in zip(entry, rival, strict=True))
    lost = sum(r and not e for e, r in zip(entry, rival, strict=True))
    return PairedTest(won, lost, paired_p(rival, entry))
