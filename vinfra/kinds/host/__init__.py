"""Kinds of a Linux host."""
