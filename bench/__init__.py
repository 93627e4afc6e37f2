"""How fast Sojourn is, side by side with Django's engines and with the raw driver: see README.md."""
