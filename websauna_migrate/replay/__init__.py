"""What databases are, as facts; and the scratch places where models and scripts are tried."""
