"""Domains: PostgreSQL's types with conditions of their own, changed in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, told
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.server_statements import qualified, statements
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.enums import literal
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Value
from websauna_migrate.facts.postgresql import quote_name


def domain_changes(
    package: str, keys: Collection[Key], found: FoundDifferences
) -> Iterator[ScriptOp]:
    """Yield the change of each domain that both sides have.

    :param keys: the types of the package
    :raises RevisionFailed: if a domain is of another type in the models
    """
    for key in sorted(keys, key=str):
        name = qualified(*key)
        up: list[str] = []
        down: list[str] = []
        words: list[str] = []
        for one in in_order(found.of(key)):
            if one.attribute in ("type", "collation") and one.fact.kind == "domain type":
                raise cannot_render(
                    package,
                    f'the domain "{key[1]}"',
                    f"has another {one.attribute} than in the database, {one.left or 'none'}, "
                    "which PostgreSQL cannot change.",
                    "Give the domain another name: its columns are converted to the new one, and "
                    "the old one is dropped.",
                )
            up += change(one, name, upgrade=True)
            down = [*change(one, name, upgrade=False), *down]
            words.append(told(one))
        if up or down:
            yield statements(("change_domain", *key, *words), up, down)


def in_order(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences of a domain, constraints that go first and those that come last."""
    own = [one for one in found if one.fact.kind == "domain type" or one.fact.get("of type")]
    return sorted(own, key=lambda one: 1 if one.attribute else 0 if one.left else 2)


def change(one: Difference, domain: str, *, upgrade: bool) -> Iterator[str]:
    """Yield the statements for one difference, in one direction."""
    alter = f"ALTER DOMAIN {domain}"
    old, new = (one.left, one.right) if upgrade else (one.right, one.left)
    if one.fact.kind == "constraint":
        name = quote_name(one.fact.name)
        if one.attribute == "comment":
            text = "NULL" if new is None else literal(str(new))
            yield f"COMMENT ON CONSTRAINT {name} ON DOMAIN {domain} IS {text}"
            return
        if one.attribute == "not valid":
            if not new:
                yield f"{alter} VALIDATE CONSTRAINT {name}"
            return
        if old:
            yield f"{alter} DROP CONSTRAINT {name}"
        if new:
            definition = one.fact.get("definition") if one.attribute is None else new
            yield f"{alter} ADD CONSTRAINT {name} {definition}"
    elif one.attribute == "default":
        yield f"{alter} DROP DEFAULT" if new is None else f"{alter} SET DEFAULT {new}"
    elif one.attribute == "not null":
        yield f"{alter} {'SET' if new else 'DROP'} NOT NULL"
    elif one.attribute == "comment":
        yield comment(domain, new)


def comment(domain: str, text: Value) -> str:
    """Return the statement for the comment of a domain."""
    return f"COMMENT ON DOMAIN {domain} IS {'NULL' if text is None else literal(str(text))}"


def domain_drop(key: Key, facts: Sequence[Fact]) -> ScriptOp:
    """Return the drop of a domain that the database has.

    :param facts: the domain, and its constraints
    """
    domain = next(one for one in facts if one.kind == "domain type")
    name = qualified(*key)
    words = [f"CREATE DOMAIN {name} AS {domain.get('type')}"]
    if collation := domain.get("collation"):
        words.append(f"COLLATE {collation}")
    if (default := domain.get("default")) is not None:
        words.append(f"DEFAULT {default}")
    if domain.get("not null"):
        words.append("NOT NULL")
    for one in facts:
        if one.kind == "constraint":
            words.append(f"CONSTRAINT {quote_name(one.name)} {one.get('definition')}")
    made = [" ".join(words)]
    if text := domain.get("comment"):
        made.append(comment(name, text))
    return statements(("remove_type", *key, ()), [f"DROP DOMAIN {name}"], made)
