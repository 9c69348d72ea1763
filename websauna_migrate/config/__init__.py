"""What an application registers: directives, packages, settings, selection."""
