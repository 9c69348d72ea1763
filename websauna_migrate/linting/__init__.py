"""Unsafe changes of a plan, found by squawk."""
