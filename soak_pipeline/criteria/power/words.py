"""The preview as a person reads it, on the terminal and in the run's log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from soak_pipeline.criteria.wording import count, listed
from soak_pipeline.model.preview import Expectation, Outlook

_END = {
    Outlook.DECIDABLE: "",
    Outlook.UNCERTAIN: ": may be INCONCLUSIVE",
    Outlook.UNDECIDABLE: ": will be INCONCLUSIVE",
    Outlook.SKIPPED: ": will be skipped",
}
_MARK = {Outlook.DECIDABLE: "yes", Outlook.UNCERTAIN: "maybe", Outlook.UNDECIDABLE: "no", Outlook.SKIPPED: "skipped"}
_RANK = (Outlook.UNDECIDABLE, Outlook.UNCERTAIN, Outlook.DECIDABLE, Outlook.SKIPPED)


def sentence(expectation: Expectation, subjects: str = "") -> str:
    """Such as `tenant NAME: about 41 executed calls, p95 needs 72: will be INCONCLUSIVE; 35 s more would do`.

    Args:
        expectation: what to say.
        subjects: several subjects that it holds for; its own by default.
    """
    remedy = f"; {expectation.remedy}" if expectation.remedy else ""
    return f"{subjects or expectation.subject}: {expectation.why}{_END[expectation.outlook]}{remedy}"


def outlook_by_criterion(expectations: Sequence[Expectation]) -> dict[str, Outlook]:
    """The worst outlook of each criterion; skipped only where all of it is."""
    return {
        name: min((expectation.outlook for expectation in group), key=_RANK.index)
        for name, group in groupby(expectations, key=lambda expectation: expectation.criterion)
    }


def summary(expectations: Sequence[Expectation]) -> str:
    """One line: how many criteria this size can decide, and which it cannot."""
    outlooks = outlook_by_criterion(expectations)
    able = [name for name, outlook in outlooks.items() if outlook is Outlook.DECIDABLE]
    rest = [
        f"{word}: {listed(names, most=len(names))}"
        for outlook, word in (
            (Outlook.UNDECIDABLE, "not"),
            (Outlook.UNCERTAIN, "perhaps"),
            (Outlook.SKIPPED, "skipped"),
        )
        if (names := [name for name, found in outlooks.items() if found is outlook])
    ]
    return f"this size can decide {len(able)} of {count(len(outlooks), 'criterion', 'criteria')}" + "".join(
        f"; {part}" for part in rest
    )


def log_lines(expectations: Sequence[Expectation]) -> Iterator[str]:
    """The summary, and a sentence for everything that is not decidable."""
    yield summary(expectations)
    for name, group in groupby(expectations, key=lambda expectation: expectation.criterion):
        for same in _alike(expectation for expectation in group if expectation.outlook is not Outlook.DECIDABLE):
            yield f"{name}, {sentence(same[0], _subjects(same))}"


def table_lines(expectations: Sequence[Expectation]) -> Iterator[str]:
    """Every expectation, criterion by criterion; what is alike for several subjects is said once."""
    for name, group in groupby(expectations, key=lambda expectation: expectation.criterion):
        yield name
        for same in _alike(group):
            yield f"  {_MARK[same[0].outlook]:<8} {sentence(same[0], _subjects(same))}"


def _alike(expectations: Iterable[Expectation]) -> list[list[Expectation]]:
    """Expectations that differ in their subject only, together, in the order of the first of each."""
    groups: dict[tuple[Outlook, str, str], list[Expectation]] = {}
    for expectation in expectations:
        groups.setdefault((expectation.outlook, expectation.why, expectation.remedy), []).append(expectation)
    return list(groups.values())


def _subjects(expectations: Sequence[Expectation]) -> str:
    """`tenant NAME, NAME and NAME errors`: subjects that begin and end alike share their first and last words."""
    words = [expectation.subject.split(" ") for expectation in expectations]
    if len(words) == 1 or len({(part[0], *part[2:]) for part in words}) > 1 or len(words[0]) < 2:
        return listed((expectation.subject for expectation in expectations), most=len(words))
    return " ".join([f"{words[0][0]}s", listed((part[1] for part in words), most=len(words)), *words[0][2:]])
