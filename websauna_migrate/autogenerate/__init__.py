"""New revision scripts: comparing one package's models with the database, and writing the file."""
