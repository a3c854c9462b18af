"""The parts of the documents that are written from the code: commands with their options, limits, headrooms.

`python -m soak_pipeline_tests.docs.generated` writes them; a test holds the documents against them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping

import click

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.thresholds import Thresholds


def commands() -> str:
    """Every command of `soak`: what it does, its arguments and options."""
    return "\n".join(line for name, command in app.commands.items() for line in _command(name, command))


def limits() -> str:
    """Every limit that `--set` takes, as `Thresholds` explains it."""
    rows = [
        f"| `{name}` | {getattr(Thresholds(), name):g} | {text} |" for name, text in _attributes(Thresholds).items()
    ]
    return "\n".join(["| limit | nominal | is |", "|---|---:|---|", *rows, ""])


def headrooms() -> str:
    """How much each leak series may grow within the horizon."""
    rows = [
        f"| `{name}` | {series.resource} | {series.headroom:,g} {series.unit} |" for name, series in LEAK_SERIES.items()
    ]
    return "\n".join(["| series | is | headroom |", "|---|---|---:|", *rows, ""])


PARTS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "commands": ("docs/commands.md", commands),
    "limits": ("docs/criteria.md", limits),
    "headrooms": ("docs/criteria.md", headrooms),
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


def _attributes(kind: type) -> dict[str, str]:
    """The attributes that a docstring explains, each on one line."""
    section = inspect.cleandoc(kind.__doc__ or "").split("Attributes:\n")[1]
    entries = re.split(r"^    (?=\w+: )", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in (entry.split(": ", 1) for entry in entries)}


def main() -> None:
    """Writes every part into its document."""
    for name, (document, write) in PARTS.items():
        path = PROJECT_ROOT / document
        begin, end = marks(name)
        before, rest = path.read_text(encoding="utf-8").split(begin)
        path.write_text(f"{before}{begin}{write()}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
