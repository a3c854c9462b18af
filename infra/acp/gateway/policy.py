"""What a call may not carry: the payload rules of the control plane.

Owns the patterns and the order in which they are tried. Pure: a body and a tool in, a finding or none out. It knows
nothing of tenants' state, of permissions or of HTTP.

Every text is normalised first (NFKC, zero-width characters dropped, percent-encoding undone, white space folded), so
that a disguise of the letters does not hide the words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

INFERENCE_LIMIT_CHARACTERS = 5_000
RISK_LIMIT = 0.70
PATH_RISK_SCORE = 95


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a call is refused.

    `error` is the text of the answer. `stage` is `inference` for what the inspection of the raw body found, `hard_deny`
    for what the structured rules found; they are audited under different actions. `risk_score` is 0..100.
    """

    error: str
    stage: str
    findings: tuple[str, ...]
    policy_id: str = ""
    risk_score: int = 90
    status: int = 403


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the rules make of one body: a refusal or none, and a risk from 0 to 1."""

    risk: float
    refusal: Finding | None = field(default=None)


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_INJECTION_WORDS = (
    r"(?:instructions?|filters?|rules?|prompts?|guardrails?|polic(?:y|ies)|directions?|commands?|context)"
)
_EARLIER = r"(?:all\s+|any\s+|every\s+|the\s+|your\s+|my\s+|of\s+)*(?:previous|prior|above|earlier|preceding|existing)"

INJECTION = _any_of(
    rf"\b(?:ignore|disregard|override|bypass|skip)\s+{_EARLIER}\s+{_INJECTION_WORDS}",
    rf"\b(?:ignore|disregard|override|bypass)\s+(?:all\s+|your\s+|the\s+)+(?:safety\s+|security\s+|system\s+)?{_INJECTION_WORDS}",
    rf"\bforget\s+(?:everything|{_EARLIER}\s+{_INJECTION_WORDS}|(?:all\s+|your\s+)+{_INJECTION_WORDS})",
    r"\byou\s+are\s+now\s+(?:an?|in|the|free)\b",
    r"\b(?:do\s+anything\s+now|dan\s+mode|jailbreak(?:ed)?\s+mode|developer\s+mode\s+(?:enabled|on))\b",
    r"\bact\s+as\s+(?:if\s+you\s+(?:are|were)|an?\s+unrestricted|an?\s+unfiltered)\b",
    r"\bpretend\s+(?:to\s+be|you\s+are|that\s+you)\b",
    r"\b(?:reveal|show|print|repeat|output|leak)\s+(?:me\s+)?(?:your|the)\s+(?:hidden\s+|initial\s+|full\s+)?system\s+(?:prompt|instructions?|message)",
    r"\bwhat\s+(?:is|are)\s+your\s+(?:system\s+prompt|initial\s+instructions?|hidden\s+instructions?)",
    rf"\bnew\s+(?:system\s+)?{_INJECTION_WORDS}\s*:",
    r"<\|?(?:im_start|im_end|system|endoftext)\|?>",
    r"\[/?(?:INST|SYS)\]",
    r"\bwithout\s+(?:any\s+)?(?:restrictions?|filters?|guardrails?|safety\s+checks?)\b",
    r"\b(?:disable|turn\s+off)\s+(?:all\s+|your\s+|the\s+)*(?:safety|security|guardrails?|content\s+filters?)\b",
)

SENSITIVE_PATH = re.compile(r"(?:^|[\s'\"=:@]|\.\.)/+(?:etc|root|proc|sys)(?:/|$|\s)", re.IGNORECASE)
CREDENTIAL_PATH = re.compile(
    r"\.aws/(?:credentials|config)|\.config/gcloud|\.azure/|\.kube/config|\.docker/config\.json", re.IGNORECASE
)
SSH_PATH = re.compile(r"(?:^|/)\.ssh(?:/|$)|\bid_(?:rsa|ed25519|ecdsa)\b", re.IGNORECASE)
TRAVERSAL = re.compile(r"(?:^|[\\/\s'\"=])\.\.(?:[\\/]|$)|\x00")

SQL = _any_of(
    r";\s*(?:drop|delete|truncate|alter|insert|update|create|grant|exec|shutdown)\b",
    r"\bunion\s+(?:all\s+|distinct\s+)?select\b",
    r"\b(?:or|and)\s+['\"]?(\w+)['\"]?\s*=\s*['\"]?\1\b",
    r"\b(?:drop|truncate)\s+(?:table|database|schema|index|view|user|role)\b",
    r"\btruncate\s+\w+\s*;?\s*$",
    r"\bdelete\s+from\s+[\w.\"]+\s*(?:;|$|where\s+(?:1\s*=\s*1|true)\b)",
    r"\bxp_cmdshell\b",
    r"\binto\s+(?:out|dump)file\b",
    r"\b(?:pg_sleep|sleep|benchmark|waitfor\s+delay)\s*(?:\(|')",
    r"'\s*(?:--|#|/\*)",
    r"/\*.*?\*/\s*(?:union|select|drop|or|and)\b",
)

CODE = _any_of(
    r"\bos\s*\.\s*(?:system|popen|exec\w*|spawn\w*)\b",
    r"\bsubprocess\s*\.",
    r"\b__import__\s*\(|\b(?:eval|exec)\s*\(",
    r"\brm\s+(?:-\w+\s+|--[\w-]+\s+)*-(?:\w*[rf]\w*|-recursive|-force)(?:\s+-{1,2}[\w-]+)*\s+(?:/|~|\*|\.{1,2}(?:/|\s|$)|\$)",
    r"\b(?:curl|wget|fetch)\b[^|;&]*\|\s*(?:sudo\s+)?(?:ba|z|da|k)?sh\b",
    r"\b(?:nc|ncat|netcat)\s+(?:-\w+\s+)*-\w*[le]",
    r"/dev/(?:tcp|udp)/",
    r"\bmkfs(?:\.\w+)?\b",
    r"\bdd\s+[^;]*\bof=/dev/",
    r">\s*/dev/(?:sd|nvme|hd|vd)\w*",
    r":\s*\(\s*\)\s*\{\s*:\s*\|\s*:",
    r"\bchmod\s+(?:-\w+\s+)*(?:0?777|a\+rwx)\s+/",
    r"\b(?:shutdown|reboot|halt|poweroff)\b(?:\s+-|\s+now|\s*$)",
    r"\bbase64\s+(?:-d|--decode)\b[^|]*\|\s*(?:ba|z)?sh\b",
    r"\bchild_process\b|\bRuntime\.getRuntime\(\)",
)

PATH_FIELDS = frozenset(
    {
        "path",
        "file",
        "filename",
        "file_path",
        "filepath",
        "dir",
        "directory",
        "source",
        "destination",
        "target",
        "src",
        "dst",
        "url",
        "uri",
    }
)
SQL_FIELDS = frozenset({"query", "sql", "statement", "command", "q"})
CODE_FIELDS = frozenset({"code", "script", "cmd", "command", "shell", "bash", "python", "js", "javascript", "exec"})
TENANT_FIELDS = ("tenant_id", "target_tenant")
ARGUMENT_CONTAINERS = ("input", "parameters", "payload", "arguments")

_KEYWORD_WEIGHTS = {
    "password": 20,
    "secret": 20,
    "bypass": 20,
    "exfiltrate": 25,
    "sudo": 15,
    "drop": 15,
    "token": 10,
    "root": 10,
    "admin": 10,
    "cmd": 10,
    "exploit": 20,
    "credential": 15,
}
_KEYWORDS = re.compile(rf"\b(?:{'|'.join(_KEYWORD_WEIGHTS)})\b", re.IGNORECASE)
_ZERO_WIDTH = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD])
_ESCAPED = re.compile(r"%[0-9a-fA-F]{2}")
_SQL_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_WHITE_SPACE = re.compile(r"\s+")


def assess(raw_body: str, body: dict[str, Any], tenant_id: str) -> Assessment:
    """Try every rule on one call; the first that fits decides.

    Args:
        raw_body: the body as text, as it came.
        body: the same, parsed.
        tenant_id: the tenant on whose behalf the call is made.
    """
    text = normalise(_readable(raw_body, body))
    risk = keyword_risk(text)
    refusal = _inference_refusal(raw_body, text, risk) or tenant_refusal(body, tenant_id) or field_refusal(body)
    return Assessment(risk=max(risk, refusal.risk_score / 100) if refusal else risk, refusal=refusal)


def _readable(raw_body: str, body: dict[str, Any]) -> str:
    """The raw body, and, where it holds JSON escapes, the texts that they stand for."""
    if "\\" not in raw_body:
        return raw_body
    return " ".join([raw_body, *(part for pair in _argument_texts(body) for part in pair)])


def normalise(text: str) -> str:
    """Undo the usual disguises: compatibility letters, zero-width characters, percent-encoding, odd white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ZERO_WIDTH)
    for _ in range(2):
        if not _ESCAPED.search(text):
            break
        text = unquote(text)
    return text


def keyword_risk(text: str) -> float:
    """Sum of the weights of the suspicious words in a text, plus a penalty for length, from 0 to 1."""
    words = {match.lower() for match in _KEYWORDS.findall(text)}
    length_penalty = min(30, max(0, len(text) - 2000) // 100)
    return min(1.0, (sum(_KEYWORD_WEIGHTS[word] for word in words) + length_penalty) / 100)


def _inference_refusal(raw_body: str, text: str, risk: float) -> Finding | None:
    if len(raw_body) > INFERENCE_LIMIT_CHARACTERS:
        return Finding(
            error=f"Security: Payload too large: {len(raw_body)} characters, limit {INFERENCE_LIMIT_CHARACTERS}",
            stage="inference",
            findings=("payload_too_large",),
            status=413,
        )
    match = INJECTION.search(_WHITE_SPACE.sub(" ", text))
    if match:
        return Finding(
            error=f"Security: Prompt injection detected: {match.group(0)[:80]}",
            stage="inference",
            findings=("prompt_injection_detected",),
            policy_id="SEC-INJ-001",
        )
    if risk > RISK_LIMIT:
        return Finding(
            error=f"Security: Risk score {risk:.2f} exceeds {RISK_LIMIT:.2f}",
            stage="inference",
            findings=("keyword_risk_exceeded",),
            policy_id="SEC-RISK-001",
            risk_score=round(risk * 100),
        )
    return None


def tenant_refusal(body: dict[str, Any], tenant_id: str) -> Finding | None:
    """Refuse a call that names another tenant, at the top level or inside an argument container."""
    for scope in (body, *_containers(body)):
        for name in TENANT_FIELDS:
            named = scope.get(name)
            if named is not None and str(named).lower() != tenant_id:
                return Finding(
                    error="Security: Tenant isolation violation: the body names another tenant",
                    stage="hard_deny",
                    findings=("tenant_isolation_violation",),
                    policy_id="SEC-TEN-001",
                    risk_score=95,
                )
    return None


def field_refusal(body: dict[str, Any]) -> Finding | None:
    """Try the rules for paths, SQL and code on the fields that carry such things, in every argument container."""
    for name, value in _argument_texts(body):
        text = normalise(value)
        refusal = (
            (_path_refusal(text) if name in PATH_FIELDS else None)
            or (_sql_refusal(text) if name in SQL_FIELDS else None)
            or (_code_refusal(text) if name in CODE_FIELDS else None)
        )
        if refusal:
            return refusal
    return None


def _path_refusal(text: str) -> Finding | None:
    rules = (
        (CREDENTIAL_PATH, "cloud_credential_path", "SEC-CRED-001"),
        (SSH_PATH, "ssh_credential_path", "SEC-CRED-001"),
        (SENSITIVE_PATH, "system_sensitive_path", "SEC-PATH-001"),
        (TRAVERSAL, "path_traversal_detected", "SEC-PATH-002"),
    )
    for pattern, finding, policy_id in rules:
        if pattern.search(text):
            return Finding(
                error=f"Security: Forbidden path in tool input: {finding}",
                stage="hard_deny",
                findings=(finding,),
                policy_id=policy_id,
                risk_score=PATH_RISK_SCORE,
            )
    return None


def _sql_refusal(text: str) -> Finding | None:
    spellings = {text, _SQL_COMMENT.sub("", text), _SQL_COMMENT.sub(" ", text)} if "/*" in text else {text}
    if not any(SQL.search(_WHITE_SPACE.sub(" ", spelling)) for spelling in spellings):
        return None
    return Finding(
        error="Security: SQL injection detected in tool input",
        stage="hard_deny",
        findings=("sql_injection_detected",),
        policy_id="SEC-SQL-001",
    )


def _code_refusal(text: str) -> Finding | None:
    patterns = (CODE, SENSITIVE_PATH, CREDENTIAL_PATH, SSH_PATH)
    if not any(pattern.search(text) for pattern in patterns):
        return None
    return Finding(
        error="Security: Destructive code detected in tool input",
        stage="hard_deny",
        findings=("rce_pattern_detected",),
        policy_id="SEC-RCE-001",
    )


def _containers(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ARGUMENT_CONTAINERS:
        value = body.get(name)
        if isinstance(value, dict):
            yield value


def _argument_texts(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of the body with the lower-case name of the nearest field, depth first, without recursion limits."""
    pending: list[tuple[str, Any]] = list(body.items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, str):
            yield name.lower(), value
        elif isinstance(value, dict):
            pending.extend(value.items())
        elif isinstance(value, list):
            pending.extend((name, item) for item in value)
