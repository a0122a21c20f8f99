"""A DHCP server that knows one address: run it with an interface's name, its own address, and a lease."""

import socket
import struct
import sys

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
SERVER, CLIENT = 67, 68
COOKIE = b"\x63\x82\x53\x63"


def answer(asked: bytes, own: str, lease: str) -> bytes:
    """An offer or an acknowledgement (RFC 2131); nothing for what is neither a discovery nor a request."""
    options, kinds = asked[240:], {DISCOVER: OFFER, REQUEST: ACK}
    at, kind = 0, 0
    while at + 2 < len(options) and options[at] != 255:
        if options[at] == 53:
            kind = options[at + 2]
        at += 2 + options[at + 1] if options[at] else 1
    if asked[236:240] != COOKIE or kind not in kinds:
        return b""
    server = socket.inet_aton(own)
    head = b"\x02" + asked[1:4] + asked[4:8] + b"\x00\x00\x80\x00" + asked[12:16] + socket.inet_aton(lease) + server
    said = ((53, bytes((kinds[kind],))), (54, server), (51, struct.pack("!I", 3600)), (1, b"\xff\xff\xff\x00"))
    told = b"".join(bytes((key, len(value))) + value for key, value in said)
    return head + asked[24:44] + bytes(192) + COOKIE + told + b"\xff"


def main(device: str, own: str, lease: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        wire.bind(("", SERVER))
        while True:
            if told := answer(wire.recv(1500), own, lease):
                wire.sendto(told, ("255.255.255.255", CLIENT))


if __name__ == "__main__":
    main(*sys.argv[1:])
