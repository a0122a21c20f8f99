"""Facts: until when the certificates that vinfra wrote are good."""

from typing import Any

from vinfra.kinds.host.certificates import pems
from vinfra.kinds.host.facts.clock import NOW
from vinfra.kinds.host.facts.told import Told, bounded, number
from vinfra.model.fact import TEXT, TEXTS, WHOLE, Fact

PROGRAMS = (pems.OURS, NOW)

FACTS = (
    Fact("certificates.NAME.expires", WHOLE, "When it ends: since 1970, UTC.", 4949163885, "seconds"),
    Fact("certificates.NAME.days", WHOLE, "Whole days until then; less than 0 when it has ended.", 36501, "days"),
    Fact("certificates.NAME.names", TEXTS, "Whom it speaks for.", ["web.example.org"]),
    Fact("certificates.NAME.issuer", TEXT, "Who signed it.", "CN=Example CA"),
)


def read(told: Told) -> dict[str, Any]:
    """Those in /etc/ssl/vinfra, by their names."""
    return {"certificates": bounded(pems.facts(told.answers, number(told.said(NOW)))) or None}
