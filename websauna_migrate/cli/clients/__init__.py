"""Client programs: from a database's URL to a program, its arguments and its environment.

A password reaches a program as follows, never in its arguments:

========================= =====================================================================
``pg_dump psql pgcli``    ``PGPASSWORD``; other secrets of libpq in a service file
``mariadb mysql *dump``   an option file, the only one that is read, as the application too reads
                          none: neither ``~/.my.cnf`` nor ``~/.mylogin.cnf`` leads elsewhere
``mycli``                 ``MYSQL_PWD``
========================= =====================================================================

The option file and the service file are a private file, which has no name.
"""
