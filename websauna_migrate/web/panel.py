"""The panel "Migrations" of pyramid_debugtoolbar."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from pyramid.request import Request
from pyramid_debugtoolbar.panels import DebugPanel

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.pictures.svg import to_svg
from websauna_migrate.web.commands import words_of_commands
from websauna_migrate.web.pages import look
from websauna_migrate.web.templating import render

if TYPE_CHECKING:
    from websauna_migrate.service import MigrationService

#: Of so many pending steps the SQL is shown.
SQL_SHOWN = 20


class MigrationsPanel(DebugPanel):  # type: ignore[misc]  # untyped
    """Where the packages stand, what an upgrade would do, its SQL, races and the graph.

    It looks when the toolbar's page is opened, not with each request.
    """

    name = "migrations"
    title = nav_title = "Migrations"
    has_content = True

    def __init__(self, request: Request) -> None:
        self.service: MigrationService = request.registry.queryUtility(IMigrationService)
        self.has_content = self.service is not None
        # The toolbar's page is of an application of its own, which knows no INI.
        self.words = words_of_commands(request.registry) if self.has_content else ""

    def render_content(self, request: Request) -> str:
        """Return the panel's HTML."""
        found, steps, picture = look(self.service), [], None
        try:
            with self.service.one_look():
                svg = to_svg(self.service.graph())
                # As an address: its styles hold within it, and no script runs in it.
                picture = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
                steps = [self.service.step_sql(one) for one in found.steps[:SQL_SHOWN]]
        except MigrationError:
            pass  # The look has said what is wrong.
        values = {"look": found, "steps": steps, "picture": picture}
        return render(request.registry, "panel", self.words, **values)
