"""Coverage-guided fuzzing of everything that reads a cookie: ``make fuzz``."""
