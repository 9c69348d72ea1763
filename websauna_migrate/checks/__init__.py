"""What ``check`` looks at: scripts, histories, models and database against each other."""
