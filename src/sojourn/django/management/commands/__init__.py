"""The commands.  Each is a module, as Django wants it."""
