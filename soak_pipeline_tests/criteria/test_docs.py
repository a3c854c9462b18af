"""`docs/criteria.md` has a section per criterion and names every threshold."""

from __future__ import annotations

import re

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.thresholds import Thresholds

DOCUMENT = PROJECT_ROOT / "docs" / "criteria.md"


def test_every_criterion_has_its_section_in_the_registrys_order() -> None:
    headings = re.findall(r"^## (\w+)$", DOCUMENT.read_text(), re.MULTILINE)

    names = [criterion.name for criterion in CRITERIA]
    assert [heading for heading in headings if heading in names] == names


def test_every_threshold_is_named() -> None:
    text = DOCUMENT.read_text()

    assert [name for name in Thresholds.__struct_fields__ if f"`{name}`" not in text] == []
