"""`docs/run_folder.md` names every key and column that a run folder holds, in the section of its file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.bundle import STAGE_OUTPUTS
from soak_pipeline.model.documents import ChainDocument, FairnessDocument, LatencyDocument, ReconcileDocument
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.records import REQUEST_COLUMNS, TELEMETRY_COLUMNS
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.traffic import Outcome, Phase
from soak_pipeline.model.verdict import Judgement
from soak_pipeline.report.verdict_document import VerdictDocument
from soak_pipeline_tests.report.runs import reported_run

DOCUMENT = PROJECT_ROOT / "docs" / "run_folder.md"
TYPES: dict[str, tuple[type, ...]] = {
    "verdict.json": (VerdictDocument,),
    "latency.json": (LatencyDocument,),
    "comparison.json": (FairnessDocument,),
    "chain_verify.json": (ChainDocument,),
    "reconcile.json": (ReconcileDocument,),
    "plan.json": (Plan,),
    "outputs/": (*STAGE_OUTPUTS.values(), Judgement, FinalVerdict),
}
ELSEWHERE = {"outputs/": ("chain_verify.json", "reconcile.json", "verdict.json")}
"""Sections that a section refers to for the keys that it shares with them."""


def sections() -> dict[str, str]:
    """Text by heading; a heading of several files counts for each."""
    parts = re.split(r"^## (.*)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        for name in re.findall(r"`([^`]+)`", heading) or [heading]:
            texts[name] = text
    return texts


def keys_of(kind: inspect.Type) -> Iterator[str]:
    """Every key of a type and of the types in it; the limits are documented where they stand."""
    if isinstance(kind, inspect.StructType):
        if kind.cls is Thresholds:
            return
        for field in kind.fields:
            yield field.encode_name
            yield from keys_of(field.type)
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from keys_of(part)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        yield from keys_of(kind.item_type)
    elif isinstance(kind, inspect.DictType):
        yield from keys_of(kind.value_type)


@pytest.mark.parametrize("name", TYPES)
def test_every_key_is_documented(name: str) -> None:
    texts = sections()
    text = " ".join(texts[section] for section in (name, "Conventions", *ELSEWHERE.get(name, ())))
    keys = {key for kind in TYPES[name] for key in keys_of(inspect.type_info(kind))}
    assert sorted(key for key in keys if f"`{key}`" not in text) == []


@pytest.mark.parametrize(("name", "columns"), [("requests/", REQUEST_COLUMNS), ("telemetry/", TELEMETRY_COLUMNS)])
def test_every_column_is_documented(name: str, columns: dict[str, str]) -> None:
    assert [column for column in columns if f"`{column}`" not in sections()[name]] == []


def test_every_outcome_and_phase_is_documented() -> None:
    text = sections()["requests/"]
    assert [word for word in (*Outcome, *Phase) if f"`{word}`" not in text] == []


def test_every_stage_and_threshold_is_known() -> None:
    text = sections()["outputs/"]
    assert [stage for stage in (*STAGE_OUTPUTS, "post_run_checks", "report") if f"`{stage}`" not in text] == []
    assert "criteria.md#limits" in sections()["plan.json"]


def test_every_written_file_has_its_section(tmp_path: Path) -> None:
    folder, final = reported_run(tmp_path, defects=["server_errors"])
    names = [Path(name).name for name in final.files] + ["plan.json"]
    assert [name for name in names if name not in sections()] == []
    fields = set(re.findall(r"(\w+)=", (folder.path / "errors.log").read_text()))
    assert "sample_text" in fields
    assert fields <= set(re.findall(r"`(\w+)`", sections()["errors.log"]))


def test_documented_json_keys_are_those_that_are_written(tmp_path: Path) -> None:
    folder, _ = reported_run(tmp_path)
    for name in ("verdict.json", "latency.json", "chain_verify.json", "reconcile.json"):
        written = msgspec.json.decode((folder.path / name).read_bytes())
        assert [key for key in written if f"`{key}`" not in sections()[name]] == []


def test_every_file_that_the_code_names_is_documented() -> None:
    """Names of files in the code of what writes a run folder, such as `run.log` or `session-{session}.json`."""
    parts = ("evidence", "load", "stages", "report", "telemetry", "model")
    modules = [path for part in parts for path in (PACKAGE / part).rglob("*.py")] + [PACKAGE / "commands" / "run.py"]
    names = {name for path in modules for name in _file_names(path)}
    assert len(names) > 15
    text = DOCUMENT.read_text(encoding="utf-8")
    assert sorted(name for name in names - OF_NO_RUN if not re.search(_pattern(name), text)) == []


OF_NO_RUN = {"direct_url.json"}
"""Files that the code reads elsewhere: of an installed package (PEP 610)."""

PACKAGE = DOCUMENT.parents[1] / "soak_pipeline"
SUFFIX = r"\.(json|jsonl|log|parquet|html|md|xml|sha256|spool)"


def _file_names(path: Path) -> Iterator[str]:
    """Texts that are a file's name, with `*` for what is filled in or matched."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        if re.fullmatch(rf"[a-z][\w*-]*(\.v\*)?{SUFFIX}", text):
            yield text


def _pattern(name: str) -> str:
    """Matches the name in the document, where braces or a number stand for what is filled in."""
    return r"[\w{}-]*".join(re.escape(part) for part in re.split(r"\*+-\*+|\*", name))
