"""Addresses of network cards, as a blueprint writes them."""

from ipaddress import IPv4Address, IPv4Interface


def of_card(value: str) -> str:
    """An IPv4 address, with or without its prefix."""
    try:
        return str(IPv4Interface(value) if "/" in value else IPv4Address(value))
    except ValueError:
        raise ValueError(
            f"{str(value)!r} is no address; write 10.10.0.50 for one that the network gives it, or 10.10.0.50/24"
        ) from None


def ip_address(value: str) -> str:
    """An IPv4 address."""
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{str(value)!r} is no IPv4 address; write one such as 10.10.0.1") from None
