"""What differs between models and database, kind by kind."""
