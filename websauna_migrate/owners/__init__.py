"""Which package a table belongs to."""
