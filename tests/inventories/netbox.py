"""A server that answers as NetBox 4.7's REST API does, for what vinfra asks of it.

Shapes: `DeviceSerializer` and `VirtualMachineSerializer` of NetBox 4.7 with their nested objects, and its pages
(`count`, `next`, `previous`, `results`). It is no NetBox: no filter but `site` and `status`, no permission but the
token.
"""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "nbt-0123456789abcdef"
DEVICES, MACHINES = "/api/dcim/devices/", "/api/virtualization/virtual-machines/"


def nested(number: int, name: str, path: str = "dcim/sites") -> dict[str, Any]:
    slug = name.lower().replace(" ", "-")
    where = f"/api/{path}/{number}/"
    return {"id": number, "url": where, "display": name, "name": name, "slug": slug, "description": ""}


def ip(address: str) -> dict[str, Any]:
    return {
        "id": 1,
        "url": "/api/ipam/ip-addresses/1/",
        "display": address,
        "family": {"value": 4, "label": "IPv4"},
        "address": address,
        "description": "",
    }


def device(number: int, name: str | None, address: str | None, site: str = "AMS 1", **more: Any) -> dict[str, Any]:
    found = {
        "id": number,
        "url": f"{DEVICES}{number}/",
        "display_url": f"/dcim/devices/{number}/",
        "display": name or f"device {number}",
        "name": name,
        "device_type": {
            "id": 1,
            "url": "/api/dcim/device-types/1/",
            "display": "R640",
            "model": "R640",
            "slug": "r640",
        },
        "role": nested(3, "Hypervisor", "dcim/device-roles"),
        "tenant": None,
        "platform": nested(4, "Debian 12", "dcim/platforms"),
        "serial": f"SN{number}",
        "asset_tag": None,
        "site": nested(1, site),
        "location": nested(9, "Hall B", "dcim/locations"),
        "rack": {"id": 7, "url": "/api/dcim/racks/7/", "display": "R07", "name": "R07", "description": ""},
        "position": 12.0,
        "face": {"value": "front", "label": "Front"},
        "status": {"value": "active", "label": "Active"},
        "primary_ip": ip(address) if address else None,
        "primary_ip4": ip(address) if address else None,
        "primary_ip6": None,
        "oob_ip": None,
        "cluster": None,
        "config_context": {},
        "tags": [{**nested(1, "KVM", "extras/tags"), "color": "9e9e9e"}],
        "custom_fields": {"name": "kept whole", "warranty": "2027-01-01"},
    }
    return {**found, **more}


def machine(number: int, name: str, address: str | None) -> dict[str, Any]:
    found = device(number, name, address)
    for field in ("device_type", "rack", "position", "face", "location", "asset_tag", "oob_ip"):
        del found[field]
    more = {"cluster": nested(5, "Pool A", "virtualization/clusters"), "device": None, "vcpus": 2.0, "memory": 2048}
    return {**found, "url": f"{MACHINES}{number}/", "role": None, "tags": [], "custom_fields": {}, **more}


class Server:
    """What is asked is in `asked`; `answer` is a status and a body to give instead of what there is."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {DEVICES: [], MACHINES: []}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.answer: tuple[int, bytes] | None = None
        self.elsewhere = ""
        self.largest = 2
        self.url = ""

    def reply(self, path: str, token: str) -> tuple[int, bytes]:
        self.asked.append(path)
        self.tokens.add(token)
        if self.answer:
            return self.answer
        if token not in (f"Token {TOKEN}", f"Bearer {TOKEN}"):
            return 403, b'{"detail": "Invalid token"}'
        url = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path not in self.objects:
            return 404, b'{"detail": "Not found."}'
        found = self.objects[url.path]
        if site := query.get("site"):
            found = [item for item in found if item["site"]["slug"] == site]
        if status := query.get("status"):
            found = [item for item in found if item["status"]["value"] == status]
        offset, size = int(query.get("offset", 0)), min(int(query.get("limit", 50)), self.largest)
        more = offset + size < len(found)
        following = f"{self.elsewhere or self.url}{url.path}?limit={size}&offset={offset + size}" if more else None
        page = {"count": len(found), "next": following, "previous": None, "results": found[offset : offset + size]}
        return 200, json.dumps(page).encode()


@contextmanager
def serving(tls: Path | None = None) -> Iterator[Server]:
    """A server on loopback, with a certificate of its own in that folder (`ca.pem` signed it)."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = server.reply(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("API-Version", "4.7")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tls))
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        scheme = "https"
    server.url = f"{scheme}://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself; it is `ca.pem` as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "netbox of a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(public)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(public + private)
    return folder / "server.pem"
