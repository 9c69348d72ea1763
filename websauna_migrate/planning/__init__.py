"""One graph over all packages' histories, and plans: pure, without a database or a clock."""
