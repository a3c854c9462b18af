"""Reads target files, and resolves the secrets and addresses that they name from the environment.

Owns the rules of a valid target file and of where load may be sent. Never opens a connection, and never lets a secret
into a message or a repr.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
import psycopg.conninfo

from soak_pipeline.config.plain_yaml import read_plain_yaml
from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.registry import dialect_names, dialect_of
from soak_pipeline.model.errors import BadInput, LoadRefused
from soak_pipeline.model.plan import Plan, at_size, peak_load
from soak_pipeline.model.profile import MAX_USERS, scaled
from soak_pipeline.model.target import DatabaseNames, Target

MAX_FILE_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_CREDENTIALS_IN_URL = "holds a user name or password; put credentials into the environment and name the variable here"


class MetricsPage(NamedTuple):
    """A page to scrape.

    Attributes:
        owner: whose resources its unlabelled process metrics are, such as `audit`.
        url: of the page.
    """

    owner: str
    url: str


@dataclass(frozen=True, kw_only=True)
class ResolvedTarget:
    """A target with its addresses and credentials, for use in memory only.

    Attributes:
        target: the file.
        gateway_url: base URL without a trailing slash.
        admin_email, admin_password: operator credentials.
        dsns: PostgreSQL DSN by database (`identity`, `audit`, `usage`, `flight_recorder`, `identity_graph`), those
            that the target gives.
        redis_url: None where the target gives none.
        metrics_pages: pages to scrape.
        metrics_secret: sent to those pages; None where none is wanted.
        dialect: the platform's words.
    """

    target: Target
    gateway_url: str
    admin_email: str
    admin_password: str = field(repr=False)
    dsns: Mapping[str, str] = field(default_factory=dict, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    metrics_pages: tuple[MetricsPage, ...] = ()
    metrics_secret: str | None = field(default=None, repr=False)

    @cached_property
    def dialect(self) -> Dialect:
        """The platform's words."""
        return dialect_of(self.target)

    @property
    def host(self) -> str:
        """Host of the gateway, in lower case and without its port."""
        return host_of(self.gateway_url)

    def metrics_headers(self) -> dict[str, str]:
        """What the metrics pages want to be sent; a secret."""
        return {} if self.metrics_secret is None else {self.dialect.headers.metrics_secret: self.metrics_secret}

    def secrets(self) -> Iterator[str]:
        """Every secret in use, for those who must prove that none has leaked."""
        yield self.admin_password
        for dsn in self.dsns.values():
            if password := psycopg.conninfo.conninfo_to_dict(dsn).get("password"):
                yield str(password)
        if self.redis_url and (password := urlsplit(self.redis_url).password):
            yield password
        if self.metrics_secret:
            yield self.metrics_secret


def load_target(path: Path) -> Target:
    """Reads a target file.

    Raises:
        BadInput: unreadable, no such YAML, unknown keys, wrong types or values; every problem is named with its field
            and what is allowed.
    """
    subject = f"target {path}"
    document = read_plain_yaml(path, subject, limit_bytes=MAX_FILE_BYTES)
    problems: list[str] = []
    target = _converted(document, Target, "", problems)
    problems += _problems_of_dialect(document)
    if target is not None:
        problems += _problems_of(target)
    if problems or target is None:
        raise BadInput(subject, problems)
    return target


def resolve(target: Target, environment: Mapping[str, str]) -> ResolvedTarget:
    """Takes addresses and credentials from the environment.

    Args:
        target: a valid one.
        environment: usually `os.environ`.

    Raises:
        BadInput: variables that are missing, empty or not what they should be; all are named, none is shown.
    """
    source = _Environment(environment)
    gateway_url = target.gateway_url or source.url(target.gateway_url_env, "base URL of the gateway")
    email = source.text(target.admin_email_env, "e-mail of the operator")
    password = source.text(target.admin_password_env, "password of the operator")
    dsns = {
        database: source.dsn(variable, f"DSN of the {database} database")
        for database, variable in msgspec.structs.asdict(target.databases).items()
        if variable is not None
    }
    redis_url = source.redis_url(target.redis_url_env) if target.redis_url_env else None
    pages = [_page(entry, gateway_url) for entry in target.metrics_urls]
    if target.metrics_urls_env:
        pages += source.pages(target.metrics_urls_env)
    metrics_secret = source.text(target.metrics_secret_env, "secret of /metrics") if target.metrics_secret_env else None
    if source.problems:
        raise BadInput(f"target {target.name}", source.problems)
    return ResolvedTarget(
        target=target,
        gateway_url=gateway_url.rstrip("/"),
        admin_email=email,
        admin_password=password,
        dsns=dsns,
        redis_url=redis_url,
        metrics_pages=tuple(dict.fromkeys(pages)),
        metrics_secret=metrics_secret,
    )


def refuse_unless_load_allowed(resolved: ResolvedTarget, *, production_confirmed_as: str = "") -> None:
    """Stands between the plan and the first request.

    Args:
        resolved: where load would go.
        production_confirmed_as: the target's name, typed again by the operator; wanted for a production target only.

    Raises:
        LoadRefused: with every reason.
    """
    problems = [
        *_problems_of_permission(resolved.target),
        *_problems_of_confirmation(resolved.target, production_confirmed_as),
        *_problems_of_host(resolved),
    ]
    if problems:
        raise LoadRefused(f"target {resolved.target.name}", problems)


def refuse_unless_confirmed(target: Target, *, production_confirmed_as: str) -> None:
    """The part of `refuse_unless_load_allowed` that needs no environment: for a form, before its run exists.

    Raises:
        LoadRefused: with every reason.
    """
    problems = [*_problems_of_permission(target), *_problems_of_confirmation(target, production_confirmed_as)]
    if problems:
        raise LoadRefused(f"target {target.name}", problems)


def refuse_elsewhere(resolved: ResolvedTarget) -> None:
    """Stands before each load of a run whose plan is frozen: the environment may have changed since.

    Raises:
        LoadRefused: the target does not allow load, or the gateway is at a host that the file does not name.
    """
    problems = [*_problems_of_permission(resolved.target), *_problems_of_host(resolved)]
    if problems:
        raise LoadRefused(f"target {resolved.target.name}", problems)


def refuse_beyond_caps(plan: Plan) -> None:
    """Refuses a plan that would ask for more users or requests than profile and target file allow.

    Raises:
        LoadRefused: with the figures; nothing was sent.
    """
    users, requests_per_second = peak_load(plan)
    cap = plan.requests_per_second_max
    target = plan.target
    problems = []
    if target.max_users is not None and users > target.max_users:
        problems.append(
            f"the plan has up to {users:,} virtual users at a time, the target allows {target.max_users:,} (max_users)"
        )
    if requests_per_second > cap:
        whose = "profile" if cap == plan.profile.max_requests_per_second else "target"
        problems.append(
            f"the plan sends up to {requests_per_second:,.0f} requests/s, the {whose} allows {cap:,.0f}"
            " (max_requests_per_second)"
        )
    if problems:
        raise LoadRefused(f"target {target.name}", [*problems, _what_fits(plan)])


SCALES = tuple(round(step / 100, 2) for step in range(99, 0, -1))
"""Factors that are tried, the largest first."""


def _what_fits(plan: Plan) -> str:
    """The largest scale of the whole level that the target allows, or what to change where there is none."""
    level = f"level {plan.profile.name}"
    for scale in SCALES:
        profile = scaled(plan.profile, scale)
        if profile.users >= len(plan.tenants) and _fits(at_size(plan, profile)):
            return f"{level} fits with --scale {scale:g}; or give the policy a level of that size"
    return (
        f"{level} fits at no scale down to {SCALES[-1]:g}: give the policy a level with fewer users or a longer pace, "
        "or raise the target's limits"
    )


def _fits(plan: Plan) -> bool:
    users, requests_per_second = peak_load(plan)
    return users <= (plan.target.max_users or users) and requests_per_second <= plan.requests_per_second_max


def _problems_of_permission(target: Target) -> Iterator[str]:
    if target.allow_load is not True:
        yield "allow_load is not true; set `allow_load: true` in the target file if load may be sent there"


def _problems_of_confirmation(target: Target, confirmed_as: str) -> Iterator[str]:
    if target.production and confirmed_as != target.name:
        yield f"it is a production target; confirm with its name, {target.name!r}, that load may be sent there"


def _problems_of_host(resolved: ResolvedTarget) -> Iterator[str]:
    allowed = allowed_hosts(resolved.target)
    if resolved.host not in allowed:
        yield (
            f"the gateway's host {resolved.host!r} is not one that the file names"
            f" ({', '.join(allowed) or 'none'}); add it to load_hosts if load may be sent there"
        )


def allowed_hosts(target: Target) -> tuple[str, ...]:
    """Hosts that the file allows load to."""
    own = (host_of(target.gateway_url),) if target.gateway_url else ()
    return own + tuple(host.lower() for host in target.load_hosts)


def host_of(url: str) -> str:
    """Host of a URL, in lower case, without port; empty when it has none."""
    return urlsplit(url).hostname or ""


class _Environment:
    """Reads variables and collects what is wrong with them; a value is never repeated."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def text(self, variable: str | None, purpose: str) -> str:
        value = self._environment.get(variable or "", "")
        if not value:
            self.problems.append(f"environment variable {variable} ({purpose}) is not set; set it, then try again")
        return value

    def url(self, variable: str | None, purpose: str) -> str:
        value = self.text(variable, purpose)
        if value and (problem := _problem_of_url(value)):
            self.problems.append(f"environment variable {variable} ({purpose}) {problem}")
        return value

    def pages(self, variable: str) -> list[MetricsPage]:
        """Further pages; a platform that has none leaves the variable unset."""
        entries = [part.strip() for part in self._environment.get(variable, "").split(",") if part.strip()]
        pages = [_page(entry, "") for entry in entries]
        self.problems += [
            f"environment variable {variable} (metrics pages, comma-separated) {problem}"
            for page in pages
            if (problem := _problem_of_url(page.url))
        ]
        return pages

    def dsn(self, variable: str, purpose: str) -> str:
        value = self.text(variable, purpose)
        try:
            psycopg.conninfo.conninfo_to_dict(value)
        except psycopg.Error:
            self.problems.append(f"environment variable {variable} ({purpose}) does not hold a PostgreSQL DSN")
        return value

    def redis_url(self, variable: str) -> str:
        value = self.text(variable, "URL of Redis")
        if value and _split(value)[0] not in ("redis", "rediss", "unix"):
            self.problems.append(
                f"environment variable {variable} (URL of Redis) does not hold a URL redis://, rediss:// or unix://"
            )
        return value


def _converted(document: Any, kind: type[_Struct], prefix: str, problems: list[str]) -> _Struct | None:
    """A struct of that kind, or None with every problem of the document appended, field by field."""
    if not isinstance(document, dict):
        problems.append(f"{prefix.rstrip('.') or 'the file'} is not a mapping of keys to values")
        return None
    known = {item.name: item for item in msgspec.structs.fields(kind)}
    for key in document:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            problems.append(f"{prefix}{key} is not a known key; {hint}")
    before = len(problems)
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name not in document:
            if item.required:
                problems.append(f"{prefix}{name} is missing")
        elif isinstance(item.type, type) and issubclass(item.type, DatabaseNames):
            values[name] = _converted(document[name], item.type, f"{prefix}{name}.", problems)
        else:
            try:
                values[name] = msgspec.convert(document[name], item.type, strict=True)
            except msgspec.ValidationError:
                problems.append(f"{prefix}{name} must be {_in_words(item.type)}")
    return kind(**values) if len(problems) == before else None


def _in_words(kind: Any) -> str:
    """What a field takes, for a person."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(member.value for member in kind)
    if isinstance(kind, types.UnionType):
        return " or ".join(_in_words(part) for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return "a list of texts"
    return {bool: "true or false", str: "text", int: "a whole number", float: "a number"}.get(kind, str(kind))


def _problems_of_dialect(document: Any) -> Iterator[str]:
    """Whether the named dialect is known; asked of the document, since other problems must not hide this one."""
    name = document.get("dialect") if isinstance(document, dict) else None
    if isinstance(name, str) and name not in dialect_names():
        yield f"dialect must be one of {', '.join(dialect_names())}"


def _problems_of(target: Target) -> Iterator[str]:
    """What types do not say: forms of names, variables, URLs and paths."""
    if not _NAME.fullmatch(target.name):
        yield "name must be 1 to 63 characters of a-z, 0-9, _ and -, beginning with a letter or digit"
    if (target.gateway_url is None) == (target.gateway_url_env is None):
        yield "exactly one of gateway_url and gateway_url_env must be given"
    if target.gateway_url_env is not None and not target.load_hosts:
        yield "load_hosts must name the hosts that load may be sent to, because the URL comes from the environment"
    for host in target.load_hosts:
        if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host):
            yield "load_hosts must be host names or addresses, without scheme, port or path"
    if target.max_users is not None and not 1 <= target.max_users <= MAX_USERS:
        yield f"max_users must be 1 to {MAX_USERS:,}"
    if target.max_requests_per_second is not None and not 0.0 < target.max_requests_per_second < math.inf:
        yield "max_requests_per_second must be above 0"
    for name, url in _urls_of(target):
        if problem := _problem_of_url(url):
            yield f"{name} {problem}"
    path = "/" if target.execute_path is None else target.execute_path
    if not path.startswith("/") or path.startswith("//") or re.search(r"[\s?#\\]|\.\.", path):
        yield "execute_path must be an absolute path such as /x/{tool}, without query or '..'"
    if re.sub(r"\{tool\}", "", path).count("{"):
        yield "execute_path may contain no placeholder but {tool}"
    for name, variable in _variables_of(target):
        if not _VARIABLE.fullmatch(variable):
            yield (
                f"{name} must be the name of an environment variable (A-Z, 0-9 and _);"
                " the value itself never goes into the file"
            )


def _urls_of(target: Target) -> Iterator[tuple[str, str]]:
    if target.gateway_url is not None:
        yield "gateway_url", target.gateway_url
    if target.prometheus_url is not None:
        yield "prometheus_url", target.prometheus_url
    for entry in target.metrics_urls:
        yield "metrics_urls", _page(entry, "http://gateway").url


def _variables_of(target: Target) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.structs.asdict(target).items():
        if name.endswith("_env") and value is not None:
            yield name, value
    for name, value in msgspec.structs.asdict(target.databases).items():
        if value is not None:
            yield f"databases.{name}", value


def _page(entry: str, gateway_url: str) -> MetricsPage:
    """A page from `URL`, `/path` at the gateway, or either of them behind `owner=`."""
    owner, separator, url = entry.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z0-9_.-]+", owner):
        owner, url = "", entry
    if url.startswith("/"):
        return MetricsPage(owner or "gateway", gateway_url.rstrip("/") + url)
    return MetricsPage(owner or urlsplit(url).netloc.rpartition("@")[2], url)


def _problem_of_url(url: str) -> str:
    scheme, host, has_credentials, has_query = _split(url)
    if scheme not in ("http", "https") or not host:
        return "is not a URL http://... or https://... with a host"
    if has_credentials:
        return _CREDENTIALS_IN_URL
    return "has a query or fragment; give the base URL only" if has_query else ""


def _split(url: str) -> tuple[str, str, bool, bool]:
    """(scheme, host, has credentials, has query or fragment) of a URL; empty texts when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "", "", False, False
    return parts.scheme, parts.hostname or "", "@" in parts.netloc, bool(parts.query or parts.fragment)
