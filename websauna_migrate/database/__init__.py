"""The database below everything: engines, history tables, servers, limits, the cache."""
