"""What a look tells: status, listings, and ``check``; nothing here changes anything."""
