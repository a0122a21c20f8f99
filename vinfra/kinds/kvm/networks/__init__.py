"""The XML of networks, and whether a host has room for one."""
