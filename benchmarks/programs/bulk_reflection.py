"""The application's start, its models, and SQLAlchemy's bulk reflection: the limit. INI"""

import sys

import sqlalchemy as sa
from pyramid.paster import bootstrap

environment = bootstrap(sys.argv[1])
engine = sa.create_engine(environment["registry"].settings["sqlalchemy.url"])
with engine.connect() as connection:
    inspector = sa.inspect(connection)
    for kind in (
        "columns",
        "pk_constraint",
        "foreign_keys",
        "indexes",
        "unique_constraints",
        "table_comment",
        "check_constraints",
        "table_options",
    ):
        try:
            getattr(inspector, f"get_multi_{kind}")()
        except NotImplementedError:
            continue
environment["closer"]()
