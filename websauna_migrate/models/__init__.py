"""What the models say: which package owns which table, and SQLAlchemy's private names."""
