"""INI files that include each other."""
