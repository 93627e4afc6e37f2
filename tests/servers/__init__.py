"""Real servers for tests, on free loopback ports in temporary folders, gone when the tests are.

An engine is one entry in ``ENGINES`` and its fixtures.  Tests that take one of them run where the engine's
programs are installed.  Where they are not: with ``CI`` set they fail, else they are left out, and the
first lines of pytest's report say so.
"""
