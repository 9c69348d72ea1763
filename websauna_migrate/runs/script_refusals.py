"""What a run does not let a script do, and what a script's own checks say no to."""

from __future__ import annotations

__all__ = ["ScriptRefused"]

ROLLED_BACK = (
    "the script rolls its transaction back by itself. To take back a part, use a savepoint or "
    "websauna_migrate.data.session()."
)


class ScriptRefused(Exception):
    """A script cannot go on; its step fails with the words.

    :ivar kind: ``transaction`` where it would end the transaction that a whole run is, ``rollback``
        where it takes its step's own back, and the ledger's marker with it, ``keys`` where foreign
        keys are in the way, ``check`` where a check of the script does not hold, ``early`` where
        that asks for what an earlier step of the plan does
    """

    def __init__(self, kind: str, words: str = ROLLED_BACK) -> None:
        self.kind = kind
        super().__init__(words)
