"""The ``algodock`` command: finds the verb in the table and turns failures into a line and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from algodock_cli.failures import CommandFailed
from algodock_cli.verbs import VERBS

__all__ = ["build", "main"]


def build(verb: str | None = None) -> typer.Typer:
    """Return the command line: with one verb only, so that no other is imported, or with all of them for ``--help``."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.callback()
    def algodock() -> None:
        """From a git push of algorithm code to a running, monitored, callable API."""

    for name in [verb] if verb in VERBS else VERBS:
        found = VERBS[name]
        module = import_module(found.module)
        if found.group:
            app.add_typer(module.app, name=name, rich_help_panel=found.panel)
            continue
        settings = {"ignore_unknown_options": True} if found.takes_any_option else {}
        command = app.command(name=name, context_settings=settings, rich_help_panel=found.panel, hidden=found.hidden)
        command(getattr(module, found.function))
    return app


def main() -> None:
    """Run the command line; a failure that the person can act on is one line on standard error."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="algodock")
    except CommandFailed as failed:
        typer.echo(f"algodock: {failed}", err=True)
        sys.exit(failed.exit_code)


if __name__ == "__main__":
    main()
