"""What tables have behind the upgrades of scripts, as far as the texts of these tell it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from typing import NamedTuple, TypeAlias

from sqlalchemy.types import TypeEngine

from websauna_migrate.facts.brackets import renamed_in
from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.written_operations import (
    CHANGES,
    Operation,
    batch_key,
    everything,
    may_change,
)
from websauna_migrate.revision_scripts.written_spellings import (
    Written,
    conditions,
    default_in,
    expression,
)
from websauna_migrate.revision_scripts.written_types import checked_type, type_in

#: Schema and table, what it is, and the name of a column, constraint or index.
Place = tuple[str | None, str, str, str]

#: Types by table and column.
Types = dict[Key, dict[str, TypeEngine[object]]]

#: What makes a constraint or index, with Alembic's word for its kind.
KINDS = {
    "CheckConstraint": "check",
    "ForeignKeyConstraint": "foreignkey",
    "UniqueConstraint": "unique",
    "create_check_constraint": "check",
    "create_exclude_constraint": "exclude",
    "create_foreign_key": "foreignkey",
    "create_index": "index",
    "create_unique_constraint": "unique",
}


class Part(NamedTuple):
    """A constraint or index that a script made.

    :ivar kind: Alembic's word
    :ivar call: what made it
    :ivar said: the arguments behind its name and its table
    """

    kind: str
    call: Call
    said: list[ast.expr]
    #: The column whose type brings it.
    column: str = ""


#: By table and name; ``None`` for one that may be there or not.
Parts = dict[Key, dict[str, Part | None]]

#: Returns the CHECKs that the type of a column brings on a database, as texts by name, "" for none.
ChecksOf: TypeAlias = Callable[[Key, str, TypeEngine[object]], Iterable[tuple[str, str]]]


class WrittenSchema:
    """What columns, constraints and indexes are by scripts: what is not understood is left out.

    :ivar types: the types of columns
    :ivar expressions: server defaults, the conditions of CHECKs and of indexes
    """

    def __init__(
        self,
        dialects: Collection[str] | None = None,
        normal: Callable[[str | None], str | None] = lambda schema: schema,
        checks_of: ChecksOf | None = None,
    ) -> None:
        """Have read nothing yet.

        :param dialects: the names of SQLAlchemy's dialects that run on a database, if it is about
            one: what runs surely there counts, and what may run is forgotten. By default what runs
            on some databases alone counts as if it did on all of them.
        :param normal: returns a schema, ``None`` for the default one
        :param checks_of: by default what types bring is not known
        """
        self.dialects = dialects
        self.normal = normal
        self.checks_of = checks_of
        self.types: Types = {}
        self.expressions: dict[Place, Written] = {}
        #: The tables that had expressions.
        self._with_expressions: set[Key] = set()
        self._parts: Parts = {}
        self._is_whole = True
        #: Tables with types that bring CHECKs, of which nothing more is known.
        self._checked: set[Key] = set()

    def read(
        self, operations: Iterable[Operation], is_of: Callable[[Key], bool] = lambda key: True
    ) -> WrittenSchema:
        """Read the operations of scripts, in the order in which they are applied.

        :param is_of: tells of which tables an operation is that may do anything
        """
        for one in operations:
            if self.dialects is not None and not one.runs.may_run(self.dialects):
                continue
            changes = may_change(one.call, one.name, one.batch)
            if changes is not None:
                self._forget(one.call, changes, is_of)
            if one.name in KINDS or one.name in ("drop_constraint", "drop_index"):
                self._note_part(one)
            elif one.name in CHANGES:
                self._note(one)
        return self

    def parts(self) -> Parts | None:
        """Return the constraints and indexes.

        Of what is created with a table it is what has a name. ``None`` where a script may have made
        or dropped anything.
        """
        for key in self._checked & self._parts.keys():
            found = self._parts[key]
            found.update((one, None) for one, it in found.items() if it and it.kind == "check")
        return self._parts if self._is_whole else None

    def _runs_surely(self, operation: Operation) -> bool:
        return self.dialects is None or operation.runs.surely_runs(self.dialects)

    def _forget(
        self, call: Call, changes: Callable[[str, str], bool], is_of: Callable[[Key], bool]
    ) -> None:
        """Leave out what an operation may change."""
        for key, types in self.types.items():
            if changes is not everything or is_of(key):
                for one in [one for one in types if changes(key[1], one)]:
                    del types[one]
        for place in [one for one in self.expressions if changes(one[1], one[3])]:
            del self.expressions[place]
        if changes is everything:
            self._is_whole = False
        # SQL may have made what it names.
        words = re.findall(r"\w+", str(call.value(0, "sqltext", "statement")))
        for (_, table), parts in self._parts.items():
            parts.update(dict.fromkeys(one for one in [*parts, *words] if changes(table, one)))

    def _note_part(self, operation: Operation) -> None:
        """Note a constraint or index that an operation makes or drops."""
        call, name, batch, _ = operation
        part = call.value(0, "constraint_name", "name", "index_name")
        key = batch_key(call, batch, place=1)
        if not isinstance(part, str):
            return
        surely = self._runs_surely(operation)
        place = 1 if batch[1] is not None else 2
        if name in KINDS and key is not None:
            made = Part(KINDS[name], call, call.args[place:])
            self._parts.setdefault(key, {})[part] = made if surely else None
        elif name not in KINDS:
            for one, parts in self._parts.items():
                # An index may be dropped without a word of its table.
                if part in parts and key in (one, None):
                    parts[part] = None
                    if surely:
                        del parts[part]
        if key is not None:
            found = None
            if name == "create_check_constraint":
                found = expression(call.get(place, "condition"), call.names)
            elif name == "create_index":
                found = conditions(call.node, call.names) or None
            kind = "index" if name.endswith("_index") else "constraint"
            self._keep((*key, kind, part), found)

    def _note(self, operation: Operation) -> None:
        """Note what an operation says of a table or its columns."""
        call, name, batch, _ = operation
        key = batch_key(call, batch)
        if key is None:
            return
        known = self._runs_surely(operation)
        if self.dialects is not None:
            known &= "if_not_exists" not in call.keywords and key[0] == self.normal(key[0])
        new = call.value(1, "new_table_name")
        if not known:
            for table in {key[1], str(new)}:
                self.types.pop((self.normal(key[0]), table), None)
        if name not in ("create_table", "add_column") and brings_check(call):
            self._checked.add(key)
        rest = call.args if batch[1] is not None else call.args[1:]
        if name in ("create_table", "drop_table"):
            self._rename_table(key, None)
        if name == "rename_table":
            self._rename_table(key, new if isinstance(new, str) else None)
        elif name in ("create_table", "add_column"):
            for part in rest:
                if isinstance(part, ast.Call):
                    self._note_item(key, Call(part, call.names), known)
                    self._note_type_checks(key, Call(part, call.names), known)
        elif name == "drop_column" and rest:
            column, parts = call.names.literal(rest[0]), self._parts.get(key, {})
            for one in [one for one, it in parts.items() if it and it.column == column]:
                del parts[one]
        elif name == "alter_column" and rest:
            self._note_change(key, call, call.names.literal(rest[0]), known)

    def _note_item(self, key: Key, item: Call, known: bool) -> None:
        """Note a column or constraint that comes with a table, or to it."""
        kind = (item.names.dotted(item.node.func) or "").rpartition(".")[2]
        name = item.value(0 if kind == "Column" else None, "name")
        if not isinstance(name, str):
            return
        if kind == "Column":
            if known:
                self._set_type(key, name, item.get(1, "type_"), item)
            value = default_in(item.keywords.get("server_default"), item.names)
            for one in item.args:
                if isinstance(one, ast.Call) and (
                    item.names.dotted(one.func) == "sqlalchemy.Computed"
                ):
                    value = expression(next(iter(one.args), None), item.names)
            self._keep((*key, "column", name), value)
        elif kind in KINDS:
            self._parts.setdefault(key, {})[name] = Part(KINDS[kind], item, item.args)
            if kind == "CheckConstraint":
                self._keep((*key, "constraint", name), expression(item.get(0), item.names))

    def _note_type_checks(self, key: Key, item: Call, known: bool) -> None:
        """Note the CHECKs that the type of a column brings with it."""
        name, node = item.value(0, "name"), item.get(1, "type_")
        if node is None or not brings_check(item):
            return
        type_ = checked_type(node, item.names)
        if self.checks_of is None or type_ is None or not isinstance(name, str):
            self._checked.add(key)
            return
        for given, text in self.checks_of(key, name, type_):
            if given:
                check = ast.Call(ast.Name("CheckConstraint"), [ast.Constant(text)], [])
                call = Call(check, item.names)
                made = Part("check", call, call.args, column=name)
                self._parts.setdefault(key, {})[given] = made if known else None

    def _note_change(self, key: Key, call: Call, column: object, known: bool) -> None:
        """Note the change of a column."""
        new = call.value(None, "new_column_name")
        if new is not None:
            # They may be on it.
            columns = {str(column): str(new)}
            self._parts[key] = {
                name: renamed_part(one, key[1], columns)
                for name, one in self._parts.get(key, {}).items()
            }
        if not isinstance(column, str):
            return
        if known and "type_" in call.keywords:
            self._set_type(key, column, call.keywords["type_"], call)
        if "server_default" in call.keywords:
            default = default_in(call.keywords["server_default"], call.names)
            self._keep((*key, "column", column), default)
        if isinstance(new, str):
            types = self.types.get(key, {})
            if column in types:
                types[new] = types.pop(column)
            rename_column(self.expressions, key, column, new)

    def _set_type(self, key: Key, name: str, node: ast.expr | None, call: Call) -> None:
        """Note the type of a column; one that is not understood is forgotten."""
        types = self.types.setdefault(key, {})
        types.pop(name, None)
        type_ = None if node is None else type_in(node, call.names)
        if type_ is not None:
            types[name] = type_

    def _keep(self, place: Place, value: Written | None) -> None:
        """Note an expression, or that there is none that is known."""
        self.expressions.pop(place, None)
        if value is not None:
            self.expressions[place] = value
            self._with_expressions.add(place[:2])

    def _rename_table(self, key: Key, new: str | None) -> None:
        """Let a table have another name; ``None`` for one that is not there any more, or anew."""
        types, parts = self.types.pop(key, {}), self._parts.pop(key, {})
        if key in self._with_expressions:
            rename_table(self.expressions, key, new)
        if new is not None:
            self._with_expressions.add((key[0], new))
            self.types[key[0], new], self._parts[key[0], new] = types, parts


def rename_table(found: dict[Place, Written], key: Key, new: str | None) -> None:
    """Let expressions be of a table's new name; ``None`` for no name."""
    for one in [one for one in found if one[:2] == key]:
        value = found.pop(one)
        if new is not None:
            found[key[0], new, one[2], one[3]] = value


def rename_column(found: dict[Place, Written], key: Key, old: str, new: str) -> None:
    """Let expressions be of a column's new name, and say that."""
    for place in [one for one in found if one[:2] == key]:
        value = found.pop(place)
        if isinstance(value, Mapping):
            value = {dialect: renamed_in(sql, {old: new}) for dialect, sql in value.items()}
        found[(*key, "column", new) if place[2:] == ("column", old) else place] = value


def renamed_part(part: Part | None, table: str, columns: Mapping[str, str]) -> Part | None:
    """Return a part of a table whose columns have new names; ``None`` if that is not sure.

    :param columns: the new names by the old ones
    """
    if part is None:
        return None
    renamer = PartRenamer(part.call.names, columns, in_text=part.kind == "check")
    said = deepcopy(part.said)
    if part.kind == "foreignkey":
        # The columns of the other table keep their names, which may be this one.
        local = 0 if len(said) == 2 else 1
        targets = {one.value for one in ast.walk(ast.List(said)) if isinstance(one, ast.Constant)}
        if any(str(one).partition(".")[0] == table for one in targets):
            return None
        said[local : local + 1] = [renamer.visit(one) for one in said[local : local + 1]]
    else:
        said = [renamer.visit(one) for one in said]
    keywords = [renamer.option(one) for one in deepcopy(part.call.node.keywords)]
    if not renamer.is_sure or part.kind == "exclude":
        return None
    node = ast.Call(part.call.node.func, part.call.node.args, keywords)
    column = columns.get(part.column, part.column)
    return Part(part.kind, Call(node, part.call.names), said, column)


class PartRenamer(ast.NodeTransformer):
    """Gives the columns in what a script says of a part of a table new names.

    :ivar is_sure: whether all of it is literal
    """

    def __init__(self, names: Names, columns: Mapping[str, str], *, in_text: bool) -> None:
        """Keep the new names.

        :param in_text: whether what is said is SQL, and no column's name
        """
        self.names = names
        self.columns = columns
        self.in_text = in_text
        self.is_sure = True

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """Rename in a string."""
        if isinstance(node.value, str):
            text = renamed_in(node.value, self.columns)
            node.value = text if self.in_text else self.columns.get(node.value, node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Rename in the arguments of a call: SQL, unless it makes a column."""
        before = self.in_text
        self.in_text = (self.names.dotted(node.func) or "") != "sqlalchemy.column"
        self.generic_visit(node)
        self.in_text = before
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        """Leave a question for the database alone."""
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Note what is no name of SQLAlchemy's or Alembic's."""
        self.is_sure = self.is_sure and self.names.dotted(node) is not None
        return node

    def option(self, keyword: ast.keyword) -> ast.keyword:
        """Rename in an option: conditions, and the columns in lists and mappings."""
        before = self.in_text
        self.in_text = str(keyword.arg).endswith("_where")
        if self.in_text or isinstance(keyword.value, (ast.List, ast.Dict)):
            keyword.value = self.visit(keyword.value)
        self.in_text = before
        return keyword


def brings_check(call: Call) -> bool:
    """Tell whether the type of a column that an operation has brings a CHECK."""
    columns = [call.node, *(one for one in call.args if isinstance(one, ast.Call))]
    types = [*(one.args[1] for one in columns if len(one.args) > 1), call.keywords.get("type_")]
    return any(isinstance(one, ast.Call) and says_constraint(one) for one in types)


def says_constraint(node: ast.AST) -> bool:
    """Tell whether a call in an expression has the argument ``create_constraint``."""
    if isinstance(node, (ast.Name, ast.Constant)):
        return False
    if isinstance(node, ast.keyword) and node.arg == "create_constraint":
        return True
    return any(map(says_constraint, ast.iter_child_nodes(node)))
