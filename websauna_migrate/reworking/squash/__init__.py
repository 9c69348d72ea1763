"""``squash``: many scripts become one, written from what a replay of them gives."""
