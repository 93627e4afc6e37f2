"""Where sessions can be kept.  Each store is a module of its own; none imports another."""
