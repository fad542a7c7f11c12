"""How a command ends badly: one line for people, an exit code for scripts, never a traceback.

A ``ValueError`` is a user's mistake (2). Ctrl-C is 130. Anything else is ours (1): its traceback
goes to a file in the home folder, whose path is the message.
"""

import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["INTERRUPTED", "SOME_FAILED", "UNEXPECTED", "USER_MISTAKE", "Commands"]

UNEXPECTED = 1
USER_MISTAKE = 2
SOME_FAILED = 3
"""The command itself worked, but not every cell did."""
INTERRUPTED = 130


class Commands(TyperGroup):
    """The root group: every command's exceptions end here."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        Args:
            ctx: The root context; ``ctx.obj`` is the home folder once the options are parsed.

        Raises:
            Exit: With the exit code of the module's docstring, after one line on stderr.
        """
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise  # Typer's own way to end; a closed pipe is `sskd list | head`
        except KeyboardInterrupt:
            _say("interrupted; the same command resumes where it stopped")
            raise typer.Exit(INTERRUPTED) from None
        except ValueError as error:
            _say(f"error: {_one_line(error)}")
            raise typer.Exit(USER_MISTAKE) from None
        except Exception as error:
            log = _write_log(ctx.obj, error)
            _say(f"unexpected {type(error).__name__}: {_one_line(error)} (traceback: {log})")
            raise typer.Exit(UNEXPECTED) from None


def _say(line: str) -> None:
    sys.stdout.flush()  # what was said before comes before
    typer.echo(line, err=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no message"


def _write_log(home: Path | None, error: Exception) -> Path:
    """The traceback in ``home/errors``, or in the temporary folder where home cannot be written."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    text = f"{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    for folder in (home / "errors" if home else None, Path(tempfile.gettempdir()) / "sskd-errors"):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        except OSError:
            continue
        return folder / name
    sys.stderr.write(text)  # nowhere to write: better a traceback than nothing
    return Path("above")
