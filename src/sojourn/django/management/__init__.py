"""What ``manage.py`` can do with sessions."""
