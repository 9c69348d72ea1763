"""Column types as a script writes them: by what the database stores, never by the models' code."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError, UnsupportedCompilationError
from sqlalchemy.types import ARRAY, NullType, PickleType, TypeDecorator, TypeEngine, UserDefinedType

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialect_of, written_for
from websauna_migrate.models.sqlalchemy_internals import variants_of, with_other_variant
from websauna_migrate.models.type_words import words_in_ddl

RAW_TYPE = '''
class RawType(sa.types.UserDefinedType):
    """A column type by the name that the database has for it."""

    cache_ok = True

    def __init__(self, spec):
        self.spec = spec

    def get_col_spec(self, **kw):
        return self.spec

'''


class UnfitType(ValueError):
    """A type cannot be written into a script; the text says why."""


class StoredType(UserDefinedType[Any]):
    """A column type that SQLAlchemy has no class for, by the name that the database has for it."""

    cache_ok = True

    def __init__(self, spec: str) -> None:
        self.spec = spec

    def get_col_spec(self, **kw: object) -> str:
        """Return the name."""
        return self.spec


def collated(type_: TypeEngine[Any], collation: str) -> TypeEngine[Any]:
    """Return a type with a collation, also where SQLite's table spells it in another way."""
    if isinstance(type_, StoredType):
        return StoredType(f"{type_.spec} COLLATE {collation}")
    found = type_.copy()
    spelled = variants_of(found).get("sqlite")
    if hasattr(found, "collation"):
        found.collation = collation
        if spelled is None:
            return found
    spec = (spelled or type_).compile(dialect_of("sqlite"))
    return with_other_variant(found, "sqlite", StoredType(f"{spec} COLLATE {collation}"))


#: What an enum of MySQL's dialect says of its characters.
CHARACTERS = ("charset", "collation", "ascii", "unicode", "binary", "national")


def character_words(type_: TypeEngine[Any]) -> dict[str, Any]:
    """Return what an enum of MySQL's dialect says of its characters, as its arguments."""
    if not isinstance(type_, mysql.ENUM):
        return {}
    found = {name: getattr(type_, name, None) for name in CHARACTERS}
    return {name: value for name, value in found.items() if value}


class CharacterEnum(mysql.ENUM):
    """An enum of MySQL's dialect whose copies keep its character set and collation.

    Those of SQLAlchemy's own lose both, and Alembic copies the columns of a new table.
    """

    @classmethod
    def of(cls, type_: TypeEngine[Any]) -> TypeEngine[Any]:
        """Return an enum that says something of its characters as one that keeps it."""
        if isinstance(type_, mysql.ENUM) and (words := character_words(type_)):
            return cls(*type_.enums, name=type_.name, **words)
        return type_

    def copy(self, **kw: Any) -> CharacterEnum:
        """Return a copy with the same words."""
        copy: Any = super().copy
        found: CharacterEnum = copy(**kw)
        for name in CHARACTERS:
            setattr(found, name, getattr(self, name))
        return found


class CheckedEnum(sa.Enum):
    """An enum whose CHECK has a name of its own, beside that of the type.

    Copies of a type are made by its class alone, so each name has a class.
    """

    check_name: str | None = None

    @classmethod
    def called(cls, name: str) -> type[CheckedEnum]:
        """Return the class for a name."""
        return type(cls.__name__, (cls,), {"check_name": name, "__module__": cls.__module__})


class CheckedBoolean(sa.Boolean):
    """A boolean whose CHECK has a final name."""


class TypeRenderer:
    """Writes types as source, and notes the imports that they need.

    :ivar keep: write a custom type as itself, by an import of its module
    """

    def __init__(self, context: AutogenContext, *, keep: bool = False) -> None:
        self.context = context
        self.keep = keep
        self.databases = written_for(context)
        #: The one dialect that there is to write for, if it is one.
        self.only = next(iter(self.databases)) if len(self.databases) == 1 else None
        self.prefix = context.opts["sqlalchemy_module_prefix"] or ""

    def source(self, type_: TypeEngine[Any]) -> str:
        """Return the Python source that makes a type.

        :raises UnfitType: if there is none that would be the same type
        """
        variants = variants_of(type_)
        if self.only is not None and self.only != "mysql" and self.only in variants:
            return self.plain(variants[self.only])
        rendered = self.plain(type_)
        # What is for another product, as Oracle, may be of any kind, and nothing here proves it.
        names = {name for database in self.databases for name in DATABASES[database]}
        for name in sorted(names & variants.keys()):
            rendered += f".with_variant({self.plain(variants[name], name)}, {name!r})"
        return rendered

    def plain(self, type_: TypeEngine[Any], dialect: str | None = None) -> str:
        """Return the source of a type, its variants left aside.

        :param dialect: the only one that it is for
        """
        if isinstance(type_, NullType) and not variants_of(type_):
            raise UnfitType("has no type that is known")
        if isinstance(type_, StoredType):
            return self.raw(type_.spec)
        if isinstance(type_, CheckedEnum):
            return self.checked_enum(type_)
        if isinstance(type_, CheckedBoolean):
            return f"{self.prefix}Boolean(create_constraint=True, name={self.final(type_.name)})"
        if isinstance(type_, sa.Enum):
            return self.enum(type_)
        if isinstance(type_, ARRAY):
            return self.array(type_)
        if isinstance(type_, postgresql.DOMAIN):
            return self.domain_source(type_, "create_type=False")
        if isinstance(type_, sa.Interval) and is_builtin(type_):
            return self.interval(type_)
        if isinstance(type_, PickleType):
            return self.source(type_.impl_instance)
        if is_builtin(type_):
            return self.builtin(type_ if dialect else portable(type_, self.context))
        return self.custom(type_)

    def custom(self, type_: TypeEngine[Any]) -> str:
        """Return the source of a type that is not SQLAlchemy's own."""
        if self.keep:
            self.context.imports.add(f"import {type(type_).__module__}")
            return f"{type(type_).__module__}.{type_!r}"
        if isinstance(type_, TypeDecorator):
            return self.decorated(type_)
        base = builtin_base(type_)
        if base is not None:
            return self.source(base)
        own = self.context.dialect
        try:
            return self.raw(type_.compile(own))
        except Exception as exc:
            # It is the models' own code.
            raise UnfitType(f"has the type {type(type_).__qualname__}: {exc}") from exc

    def decorated(self, type_: TypeDecorator[Any]) -> str:
        """Return the source of what a decorated type stores, on every database.

        What ``load_dialect_impl`` gives for a database other than ``impl`` becomes a variant.
        """
        base = type_.impl_instance
        rendered = self.source(base)
        for database, names in DATABASES.items():
            if database not in self.databases:
                continue
            dialect = dialect_of(database)
            try:
                stored = stored_type(type_, dialect)
                # What @compiles says of the decorator is known by its words alone.
                words = type_.compile(dialect)
                if words == words_in_ddl(base, dialect):
                    continue
                is_stored = words == words_in_ddl(stored, dialect)
                variant = self.plain(stored, names[0]) if is_stored else self.raw(words)
            except (UnfitType, CompileError, UnsupportedCompilationError, NotImplementedError):
                # A type that is made for one database may refuse the others.
                continue
            if database == self.only:
                return variant
            for name in names:
                rendered += f".with_variant({variant}, {name!r})"
        return rendered

    def enum(self, type_: sa.Enum) -> str:
        """Return the source of an enum: its values, never its class.

        A native one is written as PostgreSQL's, which is the same on other databases, so that
        ``create_table`` does not create the type a second time.
        """
        if not type_.enums:
            raise UnfitType("is an enum without a value")
        arguments = [repr(str(value)) for value in type_.enums]
        native = type_.native_enum
        name = type_.name
        dialect_enum = isinstance(type_, mysql.ENUM)
        if native and name and not dialect_enum and "postgresql" in self.databases:
            called = "postgresql.ENUM"
            self.context.imports.add("from sqlalchemy.dialects import postgresql")
        else:
            called = f"{self.prefix}Enum"
        if name:
            arguments.append(f"name={str(name)!r}")
        if type_.schema:
            arguments.append(f"schema={type_.schema!r}")
        if called == "postgresql.ENUM":
            arguments.append("create_type=False")
        elif not native:
            arguments.append("native_enum=False")
        if type_.create_constraint:
            arguments.append("create_constraint=True")
        length = getattr(type_, "length", None)
        if length is not None and length != max(len(str(value)) for value in type_.enums):
            arguments.append(f"length={length}")
        rendered = f"{called}({', '.join(arguments)})"
        words = character_words(type_)
        if not words or "mysql" not in self.databases:
            return rendered
        self.context.imports.add("from sqlalchemy.dialects import mysql")
        given = [*arguments, *(f"{name}={value!r}" for name, value in words.items())]
        own = f"mysql.ENUM({', '.join(given)})"
        return (
            own if self.only == "mysql" else f"{rendered}.with_variant({own}, 'mysql', 'mariadb')"
        )

    def checked_enum(self, type_: CheckedEnum) -> str:
        """Return the source of an enum whose CHECK has another name than the type."""
        plain = repr([str(value) for value in type_.enums])[1:-1]
        more = "" if type_.native_enum else ", native_enum=False"
        length = type_.length
        if length is not None and length != max(len(str(value)) for value in type_.enums):
            more += f", length={length}"
        name = self.final(type_.check_name)
        rendered = f"{self.prefix}Enum({plain}, name={name}, create_constraint=True{more})"
        if type_.native_enum and "postgresql" in self.databases:
            unchecked = sa.Enum(*type_.enums, name=type_.name, schema=type_.schema)
            if self.only == "postgresql":
                return self.enum(unchecked)
            rendered += f".with_variant({self.enum(unchecked)}, 'postgresql')"
        return rendered

    def final(self, name: str | None) -> str:
        """Return the source of a name that no naming convention changes any more."""
        operations = self.context.opts["alembic_module_prefix"] or ""
        return f"{operations}f({str(name)!r})"

    def interval(self, type_: sa.Interval) -> str:
        """Return the source of an interval; its own ``repr`` is without arguments."""
        given = {
            "native": None if type_.native else False,
            "second_precision": type_.second_precision,
            "day_precision": type_.day_precision,
        }
        arguments = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        return f"{self.class_name(type(type_))}({', '.join(arguments)})"

    def array(self, type_: ARRAY[Any]) -> str:
        """Return the source of an array."""
        arguments = [self.source(type_.item_type)]
        if type_.dimensions is not None:
            arguments.append(f"dimensions={type_.dimensions!r}")
        self.context.imports.add("from sqlalchemy.dialects import postgresql")
        return f"postgresql.ARRAY({', '.join(arguments)})"

    def domain_source(self, type_: postgresql.DOMAIN, *more: str) -> str:
        """Return the source of a domain with further arguments."""
        arguments = [repr(str(type_.name)), self.source(type_.data_type)]
        if type_.schema:
            arguments.append(f"schema={type_.schema!r}")
        if type_.collation is not None:
            arguments.append(f"collation={type_.collation!r}")
        if type_.default is not None:
            arguments.append(f"default={self.expression(type_.default)}")
        if type_.constraint_name is not None:
            arguments.append(f"constraint_name={str(type_.constraint_name)!r}")
        if type_.not_null:
            arguments.append("not_null=True")
        if type_.check is not None:
            arguments.append(f"check={self.expression(type_.check)}")
        self.context.imports.add("from sqlalchemy.dialects import postgresql")
        return f"postgresql.DOMAIN({', '.join([*arguments, *more])})"

    def expression(self, value: object) -> str:
        """Return the source of a SQL expression, as text."""
        if isinstance(value, sa.sql.ClauseElement):
            rendered = self.context.migration_context.impl.render_ddl_sql_expr(value)
            return f"{self.prefix}text({rendered!r})"
        return repr(value)

    def builtin(self, type_: TypeEngine[Any]) -> str:
        """Return the source of a type that is SQLAlchemy's own."""
        call = self.call_of(type_)
        arguments = [ast.unparse(argument) for argument in call.args]
        for keyword in call.keywords:
            arguments.append(f"{keyword.arg}={self.argument(type_, keyword)}")
        return f"{self.class_name(type(type_))}({', '.join(arguments)})"

    def call_of(self, type_: TypeEngine[Any]) -> ast.Call:
        """Return a type's own ``repr`` as a call."""
        text = repr(type_)
        try:
            call = ast.parse(text, mode="eval").body
        except SyntaxError:
            # What an argument shows of itself is no Python; which one it is does not matter, as
            # only those that are can be written.
            call = ast.parse(re.sub(r"=<[^>]*>", "=None", text), mode="eval").body
        if not isinstance(call, ast.Call) or not all(map(is_literal, call.args)):
            raise UnfitType(f'has the type "{text}", which is not Python source')
        return call

    def argument(self, type_: TypeEngine[Any], keyword: ast.keyword) -> str:
        """Return the source of an argument of a type."""
        if is_literal(keyword.value):
            return ast.unparse(keyword.value)
        value = getattr(type_, keyword.arg or "", None)
        if isinstance(value, TypeEngine):
            return self.source(value)
        if keyword.arg in ("timezone", "native", "as_uuid", "none_as_null"):
            # Only its truth counts; DateTime(timezone=datetime.timezone.utc) is an old mistake.
            return repr(bool(value))
        raise UnfitType(
            f'has the type "{type_!r}", whose argument {keyword.arg}={value!r} cannot be written '
            "as Python source"
        )

    def class_name(self, cls: type[object]) -> str:
        """Return how a script names a class of SQLAlchemy, and note its import.

        A class that a dialect keeps to itself is named by the public one that it stands for.
        """
        for one in cls.__mro__:
            dialect = re.match(r"sqlalchemy\.dialects\.(\w+)", one.__module__)
            if dialect:
                module = importlib.import_module(f"sqlalchemy.dialects.{dialect[1]}")
                if getattr(module, one.__name__, None) is one:
                    self.context.imports.add(f"from sqlalchemy.dialects import {dialect[1]}")
                    return f"{dialect[1]}.{one.__name__}"
            elif getattr(sa, one.__name__, None) is one:
                return f"{self.prefix}{one.__name__}"
            elif getattr(sa.types, one.__name__, None) is one:
                return f"{self.prefix}types.{one.__name__}"
        raise UnfitType(f"has the type {cls.__qualname__}, which SQLAlchemy does not export")

    def raw(self, name: str) -> str:
        """Return the source of a type that only the database knows."""
        self.context.imports.add(RAW_TYPE.replace("sa.", self.prefix))
        return f"RawType({name!r})"


def is_literal(node: ast.expr) -> bool:
    """Tell whether an expression is a constant, or a collection of constants."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def is_builtin(type_: TypeEngine[Any]) -> bool:
    """Tell whether a type is of a class that SQLAlchemy itself defines."""
    return type(type_).__module__.startswith("sqlalchemy.")


def builtin_base(type_: TypeEngine[Any]) -> TypeEngine[Any] | None:
    """Return a type of SQLAlchemy's own that stores the same as a subclass of it."""
    for cls in type(type_).__mro__[1:]:
        if cls.__module__.startswith("sqlalchemy.") and not getattr(cls, "__abstract__", False):
            if cls in (UserDefinedType, TypeEngine, TypeDecorator):
                return None
            base: TypeEngine[Any] = type_.adapt(cls)
            for database in DATABASES:
                dialect = dialect_of(database)
                try:
                    if type_.compile(dialect) != words_in_ddl(base, dialect):
                        return None
                except (CompileError, UnsupportedCompilationError):
                    continue
            return base
    return None


#: Types that a database has and another one lacks, by how SQLAlchemy calls them.
ONE_SIDED = frozenset({"BLOB", "BYTEA", "DATETIME", "DOUBLE"})


def portable(type_: TypeEngine[Any], context: AutogenContext) -> TypeEngine[Any]:
    """Return a type that all databases of a script have, where it is the same on this one.

    What SQLite reflects as ``DATETIME`` is ``DateTime``, which PostgreSQL calls TIMESTAMP. A type
    that this database lacks is that of another one, and stays.
    """
    if type_.__visit_name__ not in ONE_SIDED or len(written_for(context)) == 1:
        return type_
    found, own = type_.as_generic(), context.dialect
    return found if words_in_ddl(type_, own) == found.compile(own) else type_


def stored_type(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return what a type stores on a database, all decorators taken off."""
    stored: TypeEngine[Any] = type_
    while isinstance(stored, TypeDecorator) and not isinstance(stored, sa.Interval):
        stored = stored.load_dialect_impl(dialect)
    return stored
