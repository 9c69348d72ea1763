"""What an application may put into a comparison besides its models."""

from __future__ import annotations

from alembic.autogenerate.api import AutogenContext

from websauna_migrate.alembic_adapter.autogenerate_internals import comparator_modules
from websauna_migrate.autogenerate.package_objects import PackageObjects

#: Options of ``context.configure`` that change nothing of what is compared: how a script is written
#: or run, where histories are, and the hooks that get the finished operations.
HARMLESS = frozenset(
    {
        *("alembic_module_prefix", "as_sql", "compared_for", "destination_rev", "dont_mutate"),
        *("fn", "include_schemas", "literal_binds", "on_version_apply"),
        *("process_revision_directives", "purge", "render_as_batch", "render_item"),
        *("revision_context", "script", "sqlalchemy_module_prefix", "starting_rev", "tag"),
        *("target_metadata", "template_args", "transaction_per_migration", "transactional_ddl"),
        *("upgrade_token", "downgrade_token", "user_module_prefix", "version_table"),
        *("version_table_pk", "version_table_schema", "written_for"),
    }
)

#: Packages whose comparators are understood: alembic-utils looks at its own entities alone.
KNOWN = ("alembic", "alembic_utils", "websauna_migrate")


def has_custom_comparison(context: AutogenContext, owned: PackageObjects) -> bool:
    """Tell whether more than models and database decides what a comparison finds.

    Filters, comparing functions and options that an ``env.py`` gave, comparators of plugins and an
    implementation of a database that is not Alembic's may see anything: with any of them nothing
    is known of a table from an earlier comparison.
    """
    insisted: dict[str, object] = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": owned.include_name,
        "include_object": owned.include_object,
    }
    for name, value in context.migration_context.opts.items():
        if name in insisted:
            if value != insisted[name]:
                return True
        elif name not in HARMLESS and value is not None:
            return True
    modules = {type(context.migration_context.impl).__module__, *comparator_modules(context)}
    return not all(module.partition(".")[0] in KNOWN for module in modules)
