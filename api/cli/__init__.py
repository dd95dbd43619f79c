"""The command line: `concordat`."""

import sys
from typing import Any

import typer

from api.cli import ask, audit, bench, demo, epoch, federation, figures, imports, node, portfolio, subject
from api.cli.exits import BAD_INPUT, UNEXPECTED
from api.logs import described
from protocol.errors import ConcordatError

app = typer.Typer(help="Joint answers from registers that stay at home.", add_completion=False)
for command in (
    *(demo.demo, federation.init, federation.up, federation.down, ask.check, ask.screen, audit.audit, bench.bench),
):
    app.command()(command)
app.command("import")(imports.import_)
app.add_typer(node.node, name="node")
app.add_typer(epoch.epoch, name="epoch")
app.add_typer(subject.subject, name="subject")
app.add_typer(figures.figures, name="figures")
app.add_typer(portfolio.portfolio, name="portfolio")
app.add_typer(federation.agreement_app, name="agreement")
app.add_typer(federation.certificate_app, name="certificate")

_UsageError: Any = typer.BadParameter.__base__  # Typer exports only this subclass of it


def main() -> None:
    """Run the command line; what is wrong with it is named and never repeated, for it may be an identifier."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx else "concordat"
        _end(BAD_INPUT, _what_is_wrong(getattr(error, "param", None)), f"See `{path} --help`.")
    except typer.Abort:
        _end(UNEXPECTED, "stopped")
    except ConcordatError as error:
        _end(UNEXPECTED, str(error))
    except Exception as error:  # noqa: BLE001  # its text may hold anything
        _end(UNEXPECTED, "unexpected: {error} at {where}".format(**described(error)))


def _what_is_wrong(parameter: Any) -> str:
    if parameter is None:
        return "an argument, option or command that is not known"
    name = max(parameter.opts, key=len)
    return f"{name if name.startswith('-') else parameter.metavar or name}: missing or not valid"


def _end(code: int, *lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
    sys.exit(code)
