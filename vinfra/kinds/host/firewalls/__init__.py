"""Firewalls: rules as they are declared, and each program that can hold them."""
