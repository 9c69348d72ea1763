"""Database migrations for Pyramid applications made of many packages."""
