"""Throw-away hosts on this machine, for the demo, the tests and users' own blueprints."""
