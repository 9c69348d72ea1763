"""The ``websauna_migrate.*`` settings of an application, read and validated in one place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.settings import truthy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.timeouts import NAMES as LIMITS
from websauna_migrate.database.timeouts import Timeouts
from websauna_migrate.plain_text import in_quotes

PREFIX = "websauna_migrate."

#: With which a database's URL begins.
DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")

#: Databases that scripts are written for, as settings name them.
KINDS = ("postgresql", "mysql", "sqlite")

#: Settings that name a package after their own name, ``websauna_migrate.script_location.fooapp``.
PER_PACKAGE = ("script_location", "version_locations", "version_table")

#: The linter's rules about style, and about limits that an operator sets for the whole run: nothing
#: that one of them finds locks a table for long, loses data or breaks the code that still serves.
STYLE_RULES = frozenset(
    {
        "ban-char-field",
        "prefer-bigint-over-int",
        "prefer-bigint-over-smallint",
        "prefer-identity",
        "prefer-text-field",
        "prefer-timestamp-tz",
        "prefer-timestamptz",
        "require-enum-value-ordering",
    }
)


class SettingError(MigrationError, ConfigurationError):  # type: ignore[misc]  # untyped
    """A setting cannot be used; ``key`` is its full name. The value is never shown.

    Pyramid's ``ConfigurationError`` too, so that an application's own handling of it works.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(f'Setting "{key}": {problem}')


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was configured with.

    :ivar url: the database, ``None`` where neither ``websauna_migrate.url`` nor ``sqlalchemy.url``
        is set
    :ivar home: of a service for a scratch database, the application's own; an ``env.py`` may
        connect to it
    :ivar scratch_url: where scratch places are made, ``None`` for beside the database
    :ivar other_urls: where there is none, the settings of other names that hold a database's URL
    :ivar engine_options: the application's ``sqlalchemy.*`` settings but for the URL and the pool
    :ivar version_table_schema: schema of the history tables and the ledger
    :ivar package: the application's own package, where it is not the one that Pyramid knows
    :ivar cache: the folder where indexes are kept, ``off`` for none, ``None`` for the default
    :ivar connect_retries: how often, a second apart, to try again to connect to a server that is
        starting
    :ivar lock_wait: seconds to wait for another run, at least 0; 0 fails at once
    :ivar render_types: how a new script writes a custom column type: ``impl`` as what it stores,
        ``keep`` as itself, so that the script depends on the type's later code
    :ivar prove: how new scripts are proven: ``on``, ``off``, or ``scratch`` for always in a scratch
        database
    :ivar web_prefix: the path below which the pages of ``websauna_migrate.web`` are
    :ivar web_localhost: whether a browser on this machine may see them without the permission
    :ivar on_pending: what an application does that starts while revisions are pending: ``ignore``,
        ``warn``, ``page``, ``fail`` or ``upgrade``
    :ivar pipeline: without effect; ``None`` if it is not set
    :ivar protected: whether commands that take something back need ``--yes-on-production``
    :ivar lint_exclude: rules of the linter by which nothing is reported
    :ivar databases: for which databases new scripts are written, of :data:`KINDS`; ``mysql`` is
        MariaDB too
    :ivar package_databases: the same for single packages
    :ivar limits: those of :class:`.Timeouts` by package and name, the package empty for all
    """

    url: URL | None = field(default=None, repr=False)
    home: URL | None = field(default=None, repr=False)
    scratch_url: URL | None = field(default=None, repr=False)
    other_urls: tuple[str, ...] = ()
    engine_options: Mapping[str, object] = field(default_factory=dict, repr=False)
    version_table_schema: str | None = None
    package: str | None = None
    cache: str | None = None
    script_location: Mapping[str, str] = field(default_factory=dict)
    version_locations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version_table: Mapping[str, str] = field(default_factory=dict)
    connect_retries: int = 0
    lock_wait: float = 300.0
    render_types: str = "impl"
    prove: str = "on"
    web_prefix: str = "/migrations"
    web_localhost: bool = False
    on_pending: str = "ignore"
    pipeline: bool | None = None
    protected: bool = False
    lint_exclude: frozenset[str] = STYLE_RULES
    databases: frozenset[str] = frozenset(KINDS)
    package_databases: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def databases_of(self, package: str) -> frozenset[str]:
        """Return the databases for which a package's scripts are written, of :data:`KINDS`."""
        return self.package_databases.get(package, self.databases)

    def require_database(self, packages: Iterable[str], dialect: str) -> None:
        """Refuse packages whose scripts are not written for a database.

        :param dialect: SQLAlchemy's name of it
        :raises SettingError: naming the packages: add the database to the setting
        """
        kind = "mysql" if dialect == "mariadb" else dialect
        wrong = sorted(name for name in set(packages) if kind not in self.databases_of(name))
        if kind not in KINDS or not wrong:
            return
        name, names = wrong[0], in_quotes(wrong)
        key = f"{PREFIX}databases" + (f".{name}" if name in self.package_databases else "")
        written = " and ".join(one for one in KINDS if one in self.databases_of(name))
        raise SettingError(
            key,
            f"the scripts of {names} are written for {written}, and this "
            f"database is {dialect}. Use another database, or, if they run here too, add {kind} to "
            "the setting.",
        )

    def timeouts_of(self, package: str) -> Timeouts:
        """Return the limits of a package's steps."""
        general = Timeouts().changed(self.limits.get("", {}))
        return general.changed(self.limits.get(package, {}))

    def require_url(self) -> URL:
        """Return the database's URL.

        :raises SettingError: if there is none: set ``sqlalchemy.url``
        """
        if self.url is None:
            looked = f'it is missing, and so is "{PREFIX}url".'
            remedy = "Set one of the two in [app:main] to the database's URL."
            if len(self.other_urls) == 1:
                remedy += " Or let it be taken over, with all else of an existing project: "
                remedy += "ws-alembic adopt"
            raise missing_url(looked, self.other_urls, remedy)
        return self.url


def parse_settings(settings: Mapping[str, object]) -> Settings:
    """Read an application's settings.

    :param settings: ``registry.settings``; keys of others are left alone
    :raises SettingError: for an unknown ``websauna_migrate.`` key, and for a value that cannot be
        read; it names the key and what is expected
    """
    simple: dict[str, Any] = {}
    per_package: dict[str, dict[str, Any]] = {name: {} for name in PER_PACKAGE}
    limits: dict[str, dict[str, float]] = {}
    databases: dict[str, frozenset[str]] = {}
    url: URL | None = None
    for key in sorted(k for k in settings if isinstance(k, str) and k.startswith(PREFIX)):
        name = key[len(PREFIX) :]
        value = settings[key]
        head, _, package = name.partition(".")
        if head in PER_PACKAGE and package:
            text = str(value).strip()
            per_package[head][package] = (
                tuple(part.strip() for part in text.splitlines() if part.strip())
                if head == "version_locations"
                else text
            )
        elif head in LIMITS and (package or name == head):
            limits.setdefault(package, {})[head] = READERS[head](key, value)
        elif head == "databases" and package:
            databases[package] = read_databases(key, value)
        elif name == "url":
            url = parse_url(key, value)
        elif name in READERS:
            simple[name] = READERS[name](key, value)
        else:
            raise SettingError(key, unknown_setting(name))
    if url is None and settings.get("sqlalchemy.url"):
        url = parse_url("sqlalchemy.url", settings["sqlalchemy.url"])
    return Settings(
        url=url,
        other_urls=tuple(other_urls(settings)) if url is None else (),
        engine_options={
            key: value
            for key, value in settings.items()
            if isinstance(key, str)
            and key.startswith("sqlalchemy.")
            and key != "sqlalchemy.url"
            and not key.startswith(("sqlalchemy.pool", "sqlalchemy.max_overflow"))
        },
        script_location=per_package["script_location"],
        version_locations=per_package["version_locations"],
        version_table=per_package["version_table"],
        limits=limits,
        package_databases=databases,
        **simple,
    )


def parse_url(key: str, value: object) -> URL:
    """Return a database URL from a setting; a message about it never shows the value."""
    if isinstance(value, URL):
        return value
    text = str(value).strip()
    try:
        url = make_url(text)
        # It raises for a dialect that cannot be the name of one.
        is_file = url.get_backend_name() == "sqlite" and not (url.host or url.username)
    except (ArgumentError, ValueError):
        raise SettingError(
            key,
            "it is no database URL. Write dialect://user:password@host:port/database, with "
            "special characters of the password percent-encoded.",
        ) from None
    if text.count("@") > 1 and not is_file:
        # The end of a password in which it was not escaped would count as the host, and be shown.
        raise SettingError(
            key,
            'it has an "@" besides the one between password and host. Write each other one as '
            "%40, percent-encoded.",
        )
    return url


def missing_url(looked: str, others: Iterable[str], remedy: str) -> SettingError:
    """Return the error of a missing ``sqlalchemy.url``, with settings that hold a URL instead."""
    hints = [f'"{key}" has a URL, but is not read.' for key in others]
    return SettingError("sqlalchemy.url", " ".join([looked, *hints, remedy]))


def other_urls(settings: Mapping[str, object]) -> Iterator[str]:
    """Yield the settings that hold a database's URL under a name that is not read."""
    for key in sorted(key for key in settings if isinstance(key, str)):
        scheme, separator, _ = str(settings[key]).strip().partition("://")
        if separator and scheme.lower().partition("+")[0] in DATABASES:
            yield key


def unknown_setting(name: str) -> str:
    """Return the words about a setting that does not exist, with the likeliest one."""
    known = sorted({"url", *READERS, *(f"{prefix}.PACKAGE" for prefix in PER_PACKAGE)})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f' Did you mean "{PREFIX}{close[0]}"?' if close else ""
    return f"there is no such setting.{hint} Known: {', '.join(PREFIX + k for k in known)}."


def read_text(key: str, value: object) -> str | None:
    """Read a text; empty means not set."""
    return str(value).strip() or None


def number(read: Callable[[str], float], what: str) -> Callable[[str, object], float]:
    """Return what reads a number, at least 0.

    :param what: what it is called in the message
    """

    def read_number(key: str, value: object) -> float:
        try:
            found = read(str(value))
        except ValueError:
            found = -1
        if not 0 <= found < float("inf"):
            raise SettingError(key, f"it must be {what}, 0 or more.")
        return found

    return read_number


def one_of(*words: str) -> Callable[[str, object], str]:
    """Return what reads one of some words."""
    *others, last = (f'"{word}"' for word in words)

    def read(key: str, value: object) -> str:
        text = str(value).strip().lower()
        if text not in words:
            raise SettingError(key, f"it must be {', '.join(others)} or {last}.")
        return text

    return read


def read_switch(key: str, value: object) -> bool:
    """Read whether something is on or off, in any of Pyramid's words for it."""
    text = str(value).strip().lower()
    if text not in (*truthy, "f", "false", "n", "no", "off", "0"):
        raise SettingError(key, 'it must be "on" or "off".')
    return text in truthy


def read_prove(key: str, value: object) -> str:
    """Read whether and where new scripts are proven."""
    if str(value).strip().lower() == "scratch":
        return "scratch"
    try:
        return "on" if read_switch(key, value) else "off"
    except SettingError:
        raise SettingError(key, 'it must be "on", "off" or "scratch".') from None


def read_rules(key: str, value: object) -> frozenset[str]:
    """Read names of the linter's rules; ``default`` stands for those that are left out anyway."""
    words = re.split(r"[\s,]+", str(value).strip().lower())
    for word in words:
        if not re.fullmatch(r"[a-z0-9-]*", word):
            raise SettingError(
                key,
                'it must be names of squawk\'s rules, such as "ban-drop-column", separated by '
                'commas or spaces; "default" stands for the rules about style.',
            )
    rules = frozenset(words) - {"", "default"}
    return rules | STYLE_RULES if "default" in words else rules


def read_databases(key: str, value: object) -> frozenset[str]:
    """Read the databases that scripts are written for."""
    words = re.split(r"[\s,]+", str(value).strip().lower())
    found = {"mysql" if word == "mariadb" else word for word in words}
    if not found <= set(KINDS):
        raise SettingError(
            key,
            "it must be one or more of postgresql, mysql (which is MariaDB too) and sqlite, "
            "separated by commas or spaces.",
        )
    return frozenset(found)


def read_path(key: str, value: object) -> str:
    """Read the beginning of a URL's path, without a slash at its end."""
    text = str(value).strip()
    if not text.startswith("/"):
        raise SettingError(key, 'it must be a path that begins with "/", such as /migrations.')
    return text.rstrip("/")


SECONDS = number(float, "a number of seconds")
MILLISECONDS = number(int, "a whole number of milliseconds")

READERS: Mapping[str, Callable[[str, object], Any]] = {
    "package": read_text,
    "scratch_url": parse_url,
    "version_table_schema": read_text,
    "cache": read_text,
    "connect_retries": number(int, "a whole number"),
    "lock_wait": SECONDS,
    "lock_budget": SECONDS,
    "lock_timeout_ms": MILLISECONDS,
    "lock_timeout_max_ms": MILLISECONDS,
    "statement_timeout_ms": MILLISECONDS,
    "render_types": one_of("impl", "keep"),
    "prove": read_prove,
    "pipeline": read_switch,
    "on_pending": one_of("ignore", "warn", "page", "fail", "upgrade"),
    "protected": read_switch,
    "web_localhost": read_switch,
    "web_prefix": read_path,
    "lint_exclude": read_rules,
    "databases": read_databases,
}
