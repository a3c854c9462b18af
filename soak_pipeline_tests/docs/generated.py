"""The parts of the documents that are written from the code: commands with their options, limits, headrooms.

`python -m soak_pipeline_tests.docs.generated` writes them; a test holds the documents against them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping

import click

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline.commands.policy import SCHEMA_PATH
from soak_pipeline.config.policy_schema import documented, json_schema
from soak_pipeline.model.policy import Level, TenantPolicy
from soak_pipeline.model.profile import FairnessProfile, FanoutProfile, Profile
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.thresholds import LIMITS_PER_TENANT, Thresholds
from soak_pipeline_tests.policies import DEFAULT, default_thresholds


def commands() -> str:
    """Every command of `soak`: what it does, its arguments and options."""
    return "\n".join(line for name, command in leaves(app.commands) for line in _command(name, command))


def leaves(commands: Mapping[str, click.Command], before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, under its full name; a group is its commands."""
    for name, command in commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command.commands, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def limits() -> str:
    """Every limit that `--set` takes, as `Thresholds` explains it."""
    rows = [
        f"| `{name}` | {getattr(default_thresholds(), name):.10g} | {text} |"
        for name, text in documented(Thresholds).items()
    ]
    return "\n".join(["| limit | nominal | is |", "|---|---:|---|", *rows, ""])


def headrooms() -> str:
    """How much each leak series may grow within the horizon."""
    rows = [
        f"| `{name}` | {series.resource} | {DEFAULT.headrooms[name]:,g} {series.unit} |"
        for name, series in LEAK_SERIES.items()
    ]
    return "\n".join(["| series | is | headroom |", "|---|---|---:|", *rows, ""])


def policy_keys() -> str:
    """Every key of a policy file, as the types explain it, with its value in the levels that ship."""
    parts = [
        ("a tenant: `tenants.NAME.…`", documented(TenantPolicy), {}),
        (
            "a level: `levels.NAME.…`",
            {**_level_keys(), **_without(documented(Profile), "name", "fairness", "fanout")},
            _values(""),
        ),
        ("a level's fairness: `levels.NAME.fairness.…`", documented(FairnessProfile), _values("fairness")),
        ("a level's fan-out: `levels.NAME.fanout.…`", documented(FanoutProfile), _values("fanout")),
    ]
    lines = []
    for title, texts, values in parts:
        names = list(DEFAULT.levels) if values else []
        lines += [f"Keys of {title}", "", f"| key | means |{''.join(f' {name} |' for name in names)}"]
        lines.append(f"|---|---|{'---:|' * len(names)}")
        for key, text in texts.items():
            cells = "".join(f" {values.get(key, {}).get(name, '')} |" for name in names)
            lines.append(f"| `{key}` | {text} |{cells}")
        lines.append("")
    lines.append(f"A tenant may have these limits of its own: {', '.join(f'`{name}`' for name in LIMITS_PER_TENANT)}.")
    return "\n".join([*lines, ""])


def _level_keys() -> dict[str, str]:
    return {
        "like": "the level whose numbers this one takes; what it says itself wins.",
        **_without(documented(Level), "profile"),
    }


def _without(texts: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name not in names}


def _values(part: str) -> dict[str, dict[str, str]]:
    """By key and level, the number that the default policy has."""
    found: dict[str, dict[str, str]] = {}
    for name, level in DEFAULT.levels.items():
        holder = getattr(level.profile, part) if part else level.profile
        for key in holder.__struct_fields__:
            value = getattr(holder, key)
            if isinstance(value, bool):
                continue
            if isinstance(value, int | float):
                found.setdefault(key, {})[name] = f"{value:,g}"
            elif isinstance(value, tuple):
                found.setdefault(key, {})[name] = ", ".join(map(str, value))
        found.setdefault("gates", {})[name] = "yes" if level.gates else "no"
    return found


PARTS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "commands": ("docs/commands.md", commands),
    "limits": ("docs/criteria.md", limits),
    "headrooms": ("docs/criteria.md", headrooms),
    "policy keys": ("docs/policy.md", policy_keys),
}
"""By name: the document, and what stands in it between the marks of that name."""


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a generated part."""
    return f"<!-- {name}: begin -->\n\n", f"\n<!-- {name}: end -->"


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option)]
    yield f"### soak {name}"
    yield ""
    yield f"    soak {' '.join([name, *(argument.make_metavar(click.Context(command)) for argument in arguments)])}"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    if options:
        yield "| option | means | by default |"
        yield "|---|---|---|"
        yield from (_option(option, command) for option in options)
        yield ""


def _option(option: click.Option, command: click.Command) -> str:
    with click.Context(command) as context:
        value = "" if option.is_flag else f" {option.make_metavar(context)}".replace("|", r"\|")
        default = f"`{option.get_default(context)}`" if option.show_default else ""
    variable = f" Also `{option.envvar}`." if option.envvar else ""
    return (
        f"| `{option.opts[0]}{value}` | {option.help}{variable} | {'must be given' if option.required else default} |"
    )


def main() -> None:
    """Writes every part into its document, and the schema of a policy file beside the default policy."""
    SCHEMA_PATH.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
    for name, (document, write) in PARTS.items():
        path = PROJECT_ROOT / document
        begin, end = marks(name)
        before, rest = path.read_text(encoding="utf-8").split(begin)
        path.write_text(f"{before}{begin}{write()}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
