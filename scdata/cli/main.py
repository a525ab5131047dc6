"""Subcommands, each imported when it is asked for; errors of ours end with status 1, wrong usage with 2."""

import atexit
import importlib
import json
import os
import signal
import sys
from typing import Any

import click

import scdata
from scdata._config import nearest
from scdata._errors import PresetError, ScdataError

_COMMANDS = {
    "build": "Turn counts into a set of verified, globally shuffled shards.",
    "inspect": "Show what a set holds, with a few decoded cells.",
    "fit": "Work out medians, variable genes and depth bins of a set of counts.",
    "export": "Write a set as the files of another tool.",
    "verify": "Read a whole set and check every byte of it.",
    "report": "Write a page to look at: what a set is made of, or two side by side.",
    "card": "Show the dataset card that a set gets on the Hub.",
    "publish": "Put a set on the Hugging Face Hub.",
    "bench": "Measure how fast a set streams, or how well it is shuffled.",
    "tokenizers": "List, show, fetch and import tokenizer presets.",
    "doctor": "Check this machine: libraries, devices, disk, network.",
    "demo": "The whole way on 1,000 real cells, in about a minute.",
}


_TERM = "SIGTERM"


class _Lazy(click.Group):
    """A group whose commands live in modules of their own, so that `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}: {nearest(args[0], list(_COMMANDS))}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"scdata.cli.cmd_{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(scdata.__version__, prog_name="scdata")
def cli() -> None:
    """Data engine and streaming dataloader for single-cell foundation models.

    \b
    Example:
      scdata build cells.h5ad -o cells.set --split val=0.1
      scdata inspect cells.set
    """


def _terminated(number: int, frame: object) -> None:
    # as Ctrl-C does it: locks, workers and temporary files are given up on the way out
    raise KeyboardInterrupt(_TERM)


def _end(ended_with: list[int]) -> None:
    # Python ends itself by SIGINT, whatever the status, once an interrupt went through code that was compiled from text, as
    # that of dataclasses is; this was registered first, so all else has been cleaned up
    if ended_with:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended_with[0])


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; the status is 0 if all is well, 1 if the data or a check failed, 2 for wrong usage."""
    signal.signal(signal.SIGTERM, _terminated)
    ended_with: list[int] = []
    atexit.register(_end, ended_with)
    try:
        status = cli.main(args=arguments, prog_name="scdata", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort as error:  # Ctrl-C, or SIGTERM
        goes_on = {"build", "publish"} & set(sys.argv)
        click.echo("stopped" + ("; the same command goes on where it was" if goes_on else ""), err=True)
        stopped_by = signal.SIGTERM if getattr(error.__cause__, "args", ()) == (_TERM,) else signal.SIGINT
        ended_with.append(128 + stopped_by)
        sys.exit(ended_with[0])
    except (ScdataError, ValueError, OSError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        click.echo(f"error: {error}{notes}", err=True)
        wrong_data = isinstance(error, ScdataError | OSError) and not isinstance(error, PresetError)
        sys.exit(1 if wrong_data else 2)
    sys.exit(status if isinstance(status, int) else 0)


def progress_mode(as_json: bool) -> str:
    """How a long command says what it does: JSON lines, bars on a terminal, or a line a phase."""
    return "json" if as_json else "bars" if sys.stderr.isatty() else "lines"


def print_json(table: Any) -> None:
    """One JSON object on one line of standard output."""
    click.echo(json.dumps(table))


if __name__ == "__main__":
    main()
