"""The commands of ``ws-alembic``: each makes one call of the service and renders the result."""
