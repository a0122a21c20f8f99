"""What is in a certificate's PEM, and whether a key belongs to it. The library that parses it is loaded when one is.

Nothing here says what is in a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

from vinfra.model.kind import Answers
from vinfra.model.question import Exec

FOLDER = "/etc/ssl/vinfra"
DAY = 86400.0
# The certificates of our own folder, each line with its file's path; keys are elsewhere.
OURS = Exec(("grep", "-rsaH", "", "--", FOLDER))


@dataclass(frozen=True, slots=True)
class Chain:
    """A certificate and those that signed it. Times are in seconds since 1970, `names` whom it speaks for."""

    names: tuple[str, ...]
    issuer: str
    begins: float
    ends: float
    digest: str
    certificates: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.names[0] if self.names else 'nameless'} until {date(self.ends)} (sha256 {self.digest[:12]}…)"


def date(seconds: float) -> str:
    """A day, as it is in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def ending(chain: Chain, now: float | None, before: float) -> str:
    """That it is time to have it renewed, "" while it is not."""
    if now is None or chain.ends - now >= before:
        return ""
    if chain.ends <= now:
        return f"it ended on {date(chain.ends)}; have it renewed"
    days = int((chain.ends - now) // DAY)
    return f"it ends in {days} day{'' if days == 1 else 's'}; have it renewed"


def read(pem: str) -> Chain | str:
    """A chain, the certificate itself first; or in a sentence what is wrong with it."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(pem.encode("utf-8", "surrogateescape"))
        first, digest = found[0], sha256(found[0].public_bytes(Encoding.DER)).hexdigest()
        names, issuer = _names(first), first.issuer.rfc4514_string()
        begins, ends = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    except (
        *(ValueError, x509.InvalidVersion, x509.DuplicateExtension),
        *(x509.UnsupportedGeneralNameType, UnsupportedAlgorithm),
    ):
        return "this is no certificate in PEM (-----BEGIN CERTIFICATE-----)"
    for number, (one, above) in enumerate(pairwise(found), 1):
        try:
            one.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return f"certificate {number} was not signed by the next one; put the host's own first, then its issuers"
    return Chain(names, issuer, begins, ends, digest, tuple(found))


def alone(text: str) -> bool:
    """Whether a file holds certificates and nothing that could not be had again."""
    return "PRIVATE KEY-----" not in text and not isinstance(read(text), str)


def _names(certificate: Any) -> tuple[str, ...]:
    from cryptography import x509

    subject = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        others = ()
    given = (*(str(item.value) for item in subject), *(str(item.value) for item in others))
    return tuple(dict.fromkeys(given))


def problem(pem: str, key: str) -> str:
    """Why these two are no pair; "" when they are. Never a word of the key's own."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    chain = read(pem)
    if isinstance(chain, str):
        return chain
    try:
        private = load_pem_private_key(key.encode("utf-8", "surrogateescape"), None)
    except TypeError:
        return "the key is protected by a passphrase, and nobody could type it on the host"
    except (ValueError, UnsupportedAlgorithm):
        return "the key is no private key in PEM (-----BEGIN PRIVATE KEY-----)"
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        mine, theirs = private.public_key(), chain.certificates[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "the certificate is for a sort of key that vinfra does not know"
    return (
        "" if mine.public_bytes(*form) == theirs.public_bytes(*form) else "the key does not belong to the certificate"
    )


def facts(answers: Answers, now: float | None) -> Mapping[str, Any]:
    """Of each certificate in our folder, by its name: until when it is good, how many days are left, whose it is."""
    raw = answers.get(OURS)
    texts: dict[str, str] = {}
    for line in raw.text.splitlines() if raw else ():
        path, colon, rest = line.partition(".pem:")
        if colon and path.startswith(f"{FOLDER}/"):
            texts.setdefault(path.removeprefix(f"{FOLDER}/"), "")
            texts[path.removeprefix(f"{FOLDER}/")] += f"{rest}\n"
    found = {}
    for name, text in texts.items():
        chain = read(text)
        if not isinstance(chain, str):
            days = None if now is None else int((chain.ends - now) // DAY)
            names = list(chain.names)
            found[name] = {"expires": int(chain.ends), "days": days, "names": names, "issuer": chain.issuer}
    return found
