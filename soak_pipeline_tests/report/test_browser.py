"""The page in a real browser: it fits a phone, its script runs under its own policy, and nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from soak_pipeline_tests.report.runs import reported_run

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine; install it to try the page in it")

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--allow-file-access-from-files",
    "--virtual-time-budget=4000",
)
PROBE = """<!doctype html><meta charset="utf-8">
<iframe src="report.html#{anchor}" style="width:{width}px;height:900px"></iframe>
<pre id="answer"></pre><script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => setTimeout(() => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const drawing = page.querySelector("#latency-A .drawing");
  const svg = [...drawing.querySelectorAll("svg")].find((each) => each.clientWidth > 0);
  svg.scrollIntoView();
  const box = svg.getBoundingClientRect();
  const at = {{clientX: box.left + box.width / 2, clientY: box.top + 20, bubbles: true}};
  svg.dispatchEvent(new view.PointerEvent("pointermove", at));
  const tip = page.getElementById("tip");
  document.getElementById("answer").textContent = JSON.stringify({{
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    opened: page.getElementById("{anchor}").open,
    tip: tip.hidden ? "" : tip.textContent,
    fetched: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    narrow: getComputedStyle(page.querySelector(".narrow-only")).display,
    dark: getComputedStyle(page.body).backgroundColor,
  }});
}}, 200));
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run, _ = reported_run(tmp_path_factory.mktemp("run"), defects=["quiet_tenant_suffers"])
    return run.path


def ask(folder: Path, profile: Path, width: int, *options: str) -> dict[str, object]:
    """What the page says of itself at a width in pixels."""
    probe = folder / f"probe-{width}.html"
    probe.write_text(PROBE.format(width=width, anchor="teardown_is_silent"))
    command = [BROWSER, *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stdout[:500]
    answer: dict[str, object] = json.loads(unescape(match.group(1)))
    return answer


@pytest.mark.parametrize(("width", "narrow"), [(360, "block"), (1_280, "none")])
def test_it_fits_its_script_runs_and_it_fetches_nothing(folder: Path, tmp_path: Path, width: int, narrow: str) -> None:
    answer = ask(folder, tmp_path, width)
    assert answer["overflow"] == 0
    assert answer["narrow"] == narrow
    assert answer["opened"] is True
    assert "p95 ms" in str(answer["tip"])
    assert answer["fetched"] == []


def test_it_follows_the_reader_s_preference_for_dark(folder: Path, tmp_path: Path) -> None:
    light = ask(folder, tmp_path / "light", 800, "--blink-settings=preferredColorScheme=1")
    dark = ask(folder, tmp_path / "dark", 800, "--blink-settings=preferredColorScheme=0")
    assert light["dark"] == "rgb(255, 255, 255)"
    assert dark["dark"] == "rgb(14, 17, 22)"


def test_it_prints_on_few_pages(folder: Path, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={printed}"]
    subprocess.run([*command, (folder / "report.html").as_uri()], capture_output=True, timeout=120, check=True)
    pages = re.findall(rb"/Type\s*/Page\b", printed.read_bytes())
    assert 2 <= len(pages) <= 12
