"""What the command line, ``manage.py`` and the console share.  Nothing here imports Django."""
