"""Sessions for migration scripts that move data: ``from websauna_migrate import data``."""

from websauna_migrate.runs.step_sessions import StepSession, session, transaction_manager

__all__ = ["StepSession", "session", "transaction_manager"]
