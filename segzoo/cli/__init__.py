"""The command line: each command parses, calls, prints and exits."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from segzoo.cli import (
    check,
    data,
    env,
    evaluate,
    export,
    finetune,
    lr_find,
    new_plugin,
    plugins,
    predict,
    push,
    recipe,
    runs,
    show,
    verify_resume,
)
from segzoo.cli import list as list_command
from segzoo.cli.output import plain
from segzoo.environment import package_version
from segzoo.errors import SegzooError
from segzoo.training.launch import TURN_SECONDS, ToldByFirst, follows


class Commands(TyperGroup):
    """Turns segzoo's errors into one message and an exit code; ``--debug`` may stand anywhere."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - typer's
        """Run the command line with ``--debug`` moved to the front, where the group takes it."""
        words = [*(sys.argv[1:] if args is None else args)]
        if "--debug" in words:
            words = ["--debug", *(word for word in words if word != "--debug")]
        return super().main(words, *rest, **options)

    def make_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Read the words; ``--help`` and ``--version`` print while that is done."""
        with _quiet_if_unread():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Run the command and report what is a user's or a machine's fault without a traceback."""
        try:
            with _quiet_if_unread():
                return super().invoke(ctx)
        except ToldByFirst as error:
            raise typer.Exit(error.exit_code) from None
        except TyperException:  # such as an option that is not there
            _let_first_speak()
            raise
        except SegzooError as error:
            _let_first_speak()
            if ctx.params.get("debug"):
                traceback.print_exc()
            report_error(str(error))
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            report_error(str(error))
            raise typer.Exit(1) from None


def _let_first_speak() -> None:
    """Leave a fault to the first process of a launch, if it meets the same: the launcher then ends this one."""
    if follows():
        time.sleep(TURN_SECONDS)


@contextlib.contextmanager
def _quiet_if_unread() -> Iterator[None]:
    """End as other tools do where whoever reads stdout has seen enough, as ``head`` has."""
    try:
        yield
        if sys.stdout is not None:  # it was closed when the process began
            sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads(sys.stdout.fileno()):
            raise  # another pipe, such as one to a worker
        # Python would complain of what is left when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(128 + signal.SIGPIPE) from None


def _nobody_reads(pipe: int) -> bool:
    watch = select.poll()
    watch.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))


def report_error(message: str) -> None:
    """Print a message on stderr, in red on a terminal."""
    text = f"error: {message}"
    typer.echo(text if plain(sys.stderr) else typer.style(text, fg=typer.colors.RED), err=True)


app = typer.Typer(
    name="segzoo",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if plain(sys.stdout) or plain(sys.stderr) else "rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_command.list_models)
app.command("show")(show.show)
app.command("plugins")(plugins.plugins)
app.command("check")(check.check)
app.command("new-plugin")(new_plugin.new_plugin)
app.add_typer(recipe.app, name="recipe")
app.add_typer(data.app, name="data")
app.command("finetune")(finetune.finetune)
app.command("verify-resume")(verify_resume.verify_resume)
app.command("lr-find")(lr_find.lr_find)
app.command("runs")(runs.runs)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("env")(env.env)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segzoo {package_version('segzoo')}")
        raise typer.Exit


@app.callback()
def segzoo(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A model zoo and plugin registry for semantic segmentation."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    told = logging.ERROR if follows() else logging.INFO
    logging.getLogger("segzoo").setLevel(logging.DEBUG if debug else told)


def main() -> None:
    """Run the command line; the console script and ``python -m segzoo`` call this."""
    app()
