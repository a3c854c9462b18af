"""What a checker of accessibility looks for first, asked of the page itself: names, headings, contrast, order.

Each function gives the offences in words; an empty list is good.
"""

from __future__ import annotations

from itertools import pairwise

from soak_pipeline_tests.browser.chromium import Browser
from soak_pipeline_tests.report.colours import contrast

_NAMELESS = """
const hidden = (each) => each.closest("[aria-hidden=true], [hidden]");
const name = (each) => (each.getAttribute("aria-label") || each.getAttribute("alt") || each.textContent || "").trim();
return [...document.querySelectorAll("img, svg, [role=img], a, button, summary, [role=region], nav")]
  .filter((each) => !hidden(each) && !(each.tagName === "svg" && each.closest("[role=img]")) && !name(each))
  .map((each) => each.outerHTML.slice(0, 120));
"""
_HEADINGS = """
return [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .map((each) => [Number(each.tagName[1]), each.textContent]);
"""
_COLOURS = """
const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const over = (above, below) => above.slice(0, 3).map((part, at) => {
  const alpha = above.length > 3 ? above[3] : 1;
  return part * alpha + below[at] * (1 - alpha);
});
const ground = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) layers.push(parts(getComputedStyle(each).backgroundColor));
  return layers.reverse().reduce((below, above) => (above.length ? over(above, below) : below), [255, 255, 255]);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = new Map();
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim();
  const element = walker.currentNode.parentElement;
  if (!text || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
  const below = ground(element);
  const style = getComputedStyle(element);
  const colour = over(parts(element.closest("svg") ? style.fill : style.color), below);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  found.set([colour, below, large].join(), [colour, below, large, text.slice(0, 40)]);
}
return [...found.values()];
"""


def nameless(browser: Browser) -> list[str]:
    """Images, links, buttons and landmarks without a name."""
    return [str(each) for each in browser.execute_script(_NAMELESS)]


def headings_out_of_order(browser: Browser) -> list[str]:
    """Headings that skip a level, and whatever is not exactly one of the first level in front."""
    headings = browser.execute_script(_HEADINGS)
    levels = [level for level, _ in headings]
    problems = [] if levels.count(1) == 1 and levels[:1] == [1] else [f"levels {levels[:5]} at the beginning"]
    for (before, _), (level, text) in pairwise(headings):
        if level > before + 1:
            problems.append(f"h{level} {text!r} follows h{before}")
    return problems


def poor_contrasts(browser: Browser) -> list[str]:
    """Visible texts with less contrast than WCAG 2.2 (1.4.3) asks for: 4.5, or 3 where they are large."""
    texts = browser.execute_script(_COLOURS)
    assert len(texts) > 5, "the page shows hardly any text"
    problems = []
    for colour, ground, is_large, text in texts:
        measured = contrast(_hex(colour), _hex(ground))
        if measured < (3.0 if is_large else 4.5):
            problems.append(f"{text!r}: {measured:.2f}, {_hex(colour)} on {_hex(ground)}")
    return problems


def _hex(parts: list[float]) -> str:
    return "#" + "".join(f"{round(part):02x}" for part in parts)
