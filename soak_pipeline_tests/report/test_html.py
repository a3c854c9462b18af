"""The page as text: well-formed, self-contained, escaped, small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.write import write_report
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.runs import reported_run

VOID = {"meta", "br", "img", "input", "link", "hr"}
FETCHING = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "formaction"}


class Page(HTMLParser):
    """Checks nesting, and gathers what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in FETCHING:
                self.links.append(value or "")
            if name == "aria-label":
                self.labels.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, _ = reported_run(tmp_path_factory.mktemp("run"), defects=["quiet_tenant_suffers", "server_errors"])
    return (folder.path / "report.html").read_text()


def test_it_is_well_formed_and_its_identifiers_are_unique(text: str) -> None:
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_it_fetches_nothing(text: str) -> None:
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", text)


def test_its_policy_allows_its_own_script_and_no_other(text: str) -> None:
    assert "default-src 'none'" in text
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", text)
    assert Page(text).tags.count("script") == 1
    assert Page(text).handlers == []


def test_verdict_reason_and_next_step_come_first(text: str) -> None:
    header = text[text.index("<header") : text.index("</header>")]
    assert "FAIL" in header
    assert "tenant E p99 rose" in header
    assert "What to do next" in header


def test_what_fails_comes_first_and_is_open(text: str) -> None:
    criteria = re.findall(r'<details class="criterion (\w+)" id="(\w+)"( open)?>', text)
    tones = [tone for tone, _, _ in criteria]
    assert len(criteria) == len(CRITERION_NAMES)
    assert tones == sorted(tones, key=["fail", "open", "pass", "unasked"].index)
    assert [opened for _, _, opened in criteria] == [" open" if tone == "fail" else "" for tone in tones]


def test_every_drawing_has_words_and_numbers_behind_it(text: str) -> None:
    page = Page(text)
    drawings = text.count('class="drawing" role="img"')
    assert drawings >= 10
    assert text.count('class="numbers"') == drawings
    assert all(page.labels)


def test_it_has_one_heading_of_the_first_level_and_a_language(text: str) -> None:
    page = Page(text)
    assert page.tags.count("h1") == 1
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text


def test_hostile_text_is_shown_and_not_acted_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path, release=examples.HOSTILE, commit=examples.HOSTILE)
    judged = examples.judgement(examples.hostile(), examples.passed())
    write_report(read_evidence(folder), judged, Documents(), folder)
    text = (folder.path / "report.html").read_text()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("style") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not any(character in text for character in "\x1b\x00\u202e")
    assert "evil.example" not in " ".join(page.links)


def test_a_nightly_run_stays_under_five_megabytes(tmp_path: Path) -> None:
    # A tenth of the users: the page's size depends on time, series and tenants, not on the number of requests.
    nightly = msgspec.structs.replace(profile_of("nightly"), users=100)
    folder, final = reported_run(tmp_path, profile=nightly, defects=["rss_leak", "server_errors"])
    assert "report.html" in final.files
    assert (folder.path / "report.html").stat().st_size < 5_000_000 / 2
