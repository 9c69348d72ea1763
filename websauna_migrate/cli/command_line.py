"""The whole parser of ``ws-alembic``: Alembic's own, with what our commands add to it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

import alembic.config
from alembic.config import CommandFunction

from websauna_migrate.cli.collecting import keep_until_exit
from websauna_migrate.cli.invocation import (
    add_global_arguments,
    bootstrap,
    execute,
    group_of,
    run_options,
)
from websauna_migrate.cli.output import Output
from websauna_migrate.cli.verbs import VERBS

__all__ = ["CommandLine"]

DESCRIPTION = """\
Migrate the databases of applications made of many packages. All commands and arguments are
Alembic's, and work on the package in whose project the command is run, else on the application's
own; -x packages= names others."""

EPILOG = """\
Results go to standard output, everything else to standard error. The exit status is 0 if all is
done, 1 if it could not be done, 2 if the command line could not be understood, 3 if a step is half
done, 130 or 143 if a signal stopped it."""

#: Commands that need no application, and what to say of them.
ALEMBICS_OWN = {
    "init": "Initialize a script directory for plain Alembic. Nobody needs it for ws-alembic: the "
    "first 'revision' of a package makes its script directory.",
    "list_templates": "List the templates of 'init'. Nobody needs it for ws-alembic: the first "
    "'revision' of a package makes its script directory.",
}


class CommandLine(alembic.config.CommandLine):
    """Alembic's command line, whose commands the migration service of an application does."""

    def __init__(self, prog: str | None = "ws-alembic") -> None:
        super().__init__(prog)
        self.parser.description = DESCRIPTION
        self.parser.epilog = EPILOG
        add_global_arguments(group_of(self.parser))
        for name in VERBS:
            if name not in self.subparsers.choices:
                self.register_verb(name)

    #: Starts the application that a plaster URI describes; a test may replace it.
    bootstrap = staticmethod(bootstrap)

    def register_command(self, fn: CommandFunction) -> None:
        """Register a command of Alembic's, with what our verb of the same name adds to it."""
        verb = VERBS.get(fn.__name__)
        if verb is not None:
            self._POSITIONAL_OPTS = {**type(self)._POSITIONAL_OPTS, **verb.positionals}
        super().register_command(fn)
        self.finish_parser(fn.__name__)

    def register_verb(self, name: str) -> None:
        """Register a command that Alembic does not have."""
        self.subparsers.add_parser(name, help=VERBS[name].help)
        self.finish_parser(name)

    def finish_parser(self, name: str) -> None:
        """Add to a command's parser what Alembic has not."""
        parser = self.subparsers.choices[name]
        parser.set_defaults(verb=name)
        parser.description = ALEMBICS_OWN.get(name)
        verb = VERBS.get(name)
        if verb is not None and verb.arguments is not None:
            verb.arguments(group_of(parser))

    def main(self, argv: Sequence[str] | None = None) -> NoReturn:
        """Execute a command line and exit."""
        sys.exit(self.run(argv))

    def run(self, argv: Sequence[str] | None = None) -> int | None:
        """Execute a command line and return its exit status."""
        try:
            options = self.parser.parse_args(argv)
        except SystemExit:
            # Help was given, or a usage: nothing else was done.
            keep_until_exit()
            raise
        if not hasattr(options, "verb"):
            self.parser.error("too few arguments")
        return run_options(options, self.execute)

    def execute(self, options: Namespace, output: Output) -> int:
        """Start the application and do what the options say.

        :returns: the exit status
        """
        if options.verb in ALEMBICS_OWN:
            self.run_alembics_own(options, output)
            return 0
        return execute(options, output, self.bootstrap)

    def run_alembics_own(self, options: Namespace, output: Output) -> None:
        """Run a command that needs no application, with Alembic's own templates."""
        toml, ini = self._inis_from_config(options)
        config = alembic.config.Config(
            ini, toml_file=toml, ini_section=options.name, cmd_opts=options, stdout=output.stream
        )
        function, positionals, keywords = options.cmd
        function(
            config,
            *(getattr(options, name) for name in positionals),
            **{name: getattr(options, name) for name in keywords},
        )
