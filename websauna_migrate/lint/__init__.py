"""Unsafe changes in the SQL of pending steps, found by squawk."""
