"""Where a database stands: its facts against those behind each revision."""
