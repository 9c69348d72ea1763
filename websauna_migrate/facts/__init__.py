"""What databases and models are, as facts in the server's own words; and scratch places."""
