"""Two workers: each has its own memory, both see the same sessions."""

from pathlib import Path

chdir = str(Path(__file__).resolve().parent)
workers = 2
control_socket_disable = True  # nothing outside the state folder
