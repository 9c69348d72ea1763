"""Scripts replayed in scratch databases."""
