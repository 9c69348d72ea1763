"""What a script does, and how each part of it is written."""
