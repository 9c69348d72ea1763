"""New scripts are proven before they are kept: up, down and up again, by the runner of all runs."""
