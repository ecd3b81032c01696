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
from typing import Annotated, Any, ClassVar

import typer
from typer.exceptions import TyperException

from segzoo.cli.lazy import MARKUP, LazyGroup
from segzoo.cli.output import plain
from segzoo.environment import package_version
from segzoo.errors import SegzooError
from segzoo.runtime.launch import TURN_SECONDS, ToldByFirst, follows


class Commands(LazyGroup):
    """Turns segzoo's errors into one message and an exit code; ``--debug`` may stand anywhere."""

    table: ClassVar = {
        "list": ("segzoo.cli.list:list_models", "List the models: built-in and from plugins."),
        "show": (
            "segzoo.cli.show.command:show",
            "Show one model: parameters, weights, input, sources; its encoders; what it costs and sees.",
        ),
        "plugins": (
            "segzoo.cli.plugins:plugins",
            "List third parties' models with their origin, status and error.",
        ),
        "check": (
            "segzoo.cli.check:check",
            "Run the contract kit: what every model must keep, from strict parameters to the ONNX export.",
        ),
        "new-plugin": (
            "segzoo.cli.new_plugin:new_plugin",
            "Write a package that offers a model of yours: spec, network, tests, metadata.",
        ),
        "recipe": ("segzoo.cli.recipe:app", "List, show, copy and check recipes."),
        "data": ("segzoo.cli.data:app", "Look for faults in data, and at what augmentation makes of it."),
        "finetune": (
            "segzoo.cli.finetune:finetune",
            "Train a model as a recipe says, into a run directory with checkpoints and a report.",
        ),
        "verify-resume": (
            "segzoo.cli.verify_resume:verify_resume",
            "Prove on a recipe that a run which is killed and resumed ends with the same bits.",
        ),
        "lr-find": (
            "segzoo.cli.lr_find:lr_find",
            "Train with a growing learning rate, draw the loss, and suggest optimizer.lr.",
        ),
        "runs": ("segzoo.cli.runs:runs", "Compare the runs in a folder: score, size, speed and time of each."),
        "bench": ("segzoo.cli.bench:app", "Measure what models cost, compare results, and draw a report."),
        "evaluate": (
            "segzoo.cli.evaluate:evaluate",
            "Score a trained model: every metric with its passport, each class, and the worst images.",
        ),
        "predict": (
            "segzoo.cli.predict:predict",
            "Label images: a palette PNG of each one's own size, and on request more.",
        ),
        "export": (
            "segzoo.cli.export:export",
            "Write a trained model to a file that runs without segzoo, and prove on real images that it says the same.",
        ),
        "push": (
            "segzoo.cli.push:push",
            "Publish a trained model with its description and a model card on the Hugging Face hub.",
        ),
        "env": ("segzoo.cli.env:env", "Show versions and hardware, for bug reports."),
    }

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
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
