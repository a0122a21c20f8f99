"""Addresses of network cards, as a blueprint writes them."""

from ipaddress import IPv4Address, IPv4Interface

POINT_TO_POINT = 31  # RFC 3021: of two addresses, both are for hosts


def of_card(value: str) -> str:
    """An IPv4 address, with or without its prefix."""
    try:
        card = IPv4Interface(value if "/" in value else f"{value}/32")
    except ValueError:
        raise ValueError(
            f"{str(value)!r} is no address; write 10.10.0.50 for one that the network gives it, or 10.10.0.50/24"
        ) from None
    if card.ip.is_unspecified or card.ip.is_loopback or card.ip.is_multicast or card.ip.is_reserved:
        raise ValueError(f"{str(value)!r} is no address of a card; write one such as 10.10.0.50")
    ends = (card.network[0], card.network[-1]) if card.network.prefixlen < POINT_TO_POINT else ()
    if card.ip in ends:
        raise ValueError(f"{card.ip} stands for all of {card.network}; write one that is within it")
    return str(card) if "/" in value else str(card.ip)


def ipv4(value: str) -> str:
    """An IPv4 address."""
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{str(value)!r} is no IPv4 address; write one such as 10.10.0.1") from None
