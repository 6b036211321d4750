"""The command line: ``monai-robust`` and ``python -m monai_robust``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from monai_robust import __version__
from monai_robust.commands.attach import attach
from monai_robust.commands.bundle import bundle
from monai_robust.commands.card import card
from monai_robust.commands.corruptions import corruptions
from monai_robust.commands.datalist import datalist
from monai_robust.commands.demo import demo
from monai_robust.commands.evaluate import evaluate
from monai_robust.commands.export import export
from monai_robust.commands.overlay import overlay
from monai_robust.commands.phantoms import phantoms
from monai_robust.commands.report import report
from monai_robust.commands.step_search import step_search
from monai_robust.commands.transfer import transfer
from monai_robust.errors import close_bars, user_error, user_sentence
from monai_robust.paths import with_home
from monai_robust.studies.command import study

__all__ = ["app", "main"]

_INTERRUPTED = 130
# Their other options are ids of a bundle's configuration.
_TAKES_IDS = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Attack, robust training and robustness evaluation for MONAI pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


app.command()(attach)
app.command()(overlay)
app.command()(bundle)
app.command()(phantoms)
app.command()(datalist)
app.command()(corruptions)
app.command(context_settings=_TAKES_IDS)(evaluate)
app.command("step-search", context_settings=_TAKES_IDS)(step_search)
app.command(context_settings=_TAKES_IDS)(transfer)
app.command()(report)
app.command()(export)
app.command()(card)
app.command()(demo)
app.command(context_settings={"allow_extra_args": True})(study)


def main() -> None:
    """Run the command line; what a user can mend ends in one line and exit status 2."""
    sys.argv[1:] = map(_with_home, sys.argv[1:])
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = _INTERRUPTED
    except Exception as error:
        line = _usage(error) or _sentence(error)
        if line is None:
            if not isinstance(user_error(error), KeyboardInterrupt):
                raise
            status = _INTERRUPTED
        else:
            status = 2
            close_bars()
            print(line, file=sys.stderr)
    if status == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(status)


def _with_home(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name}={with_home(value)}" if equals and name.startswith("--") else with_home(word)


def _sentence(error: Exception) -> str | None:
    sentence = None if isinstance(user_error(error), KeyboardInterrupt) else user_sentence(error)
    return None if sentence is None else f"error: {sentence}"


def _usage(error: Exception) -> str | None:
    """What to say of a wrong word on the command line; ``None`` for anything else."""
    if not hasattr(error, "format_message"):  # typer's own base class of usage errors has moved between its versions
        return None
    message = error.format_message()
    return message if "\n" in message else f"error: {message.rstrip('.')}; add --help to see what there is"
