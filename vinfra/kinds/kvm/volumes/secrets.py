"""Secrets in libvirt: what opens an encrypted volume, or logs in to a pool's server.

A secret's uuid is made from what it is of, so that nobody has to look it up. Its value can be read by nobody whom
libvirt lets in read-only, so a digest of it in the mark tells whether it is still the one that is declared.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from vinfra.kinds.kvm.reading.virsh import SECRETS
from vinfra.model.kind import Answers
from vinfra.model.mark import Mark
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred
from vinfra.model.step import Step, Verb, Virt
from vinfra.model.values import TYPED

REFERENCE = "write {secret: env:NAME}; what opens something does not stand in a blueprint"


def of_volume(path: str) -> str:
    """The uuid of what opens the volume at that path."""
    return _uuid(f"vinfra:volume:{path}")


def of_pool(name: str) -> str:
    """The uuid of what logs in to a pool's server."""
    return _uuid(f"vinfra:pool:{name}")


def _uuid(text: str) -> str:
    """RFC 9562, 5.8: of one's own making (version 8)."""
    told = hashlib.sha256(text.encode()).hexdigest()
    return f"{told[:8]}-{told[8:12]}-8{told[13:16]}-8{told[17:20]}-{told[20:32]}"


def referred(value: Any, info: ValidationInfo) -> Any:
    """A validator's: a reference in a blueprint, and what it stands for once it is known."""
    if isinstance(value, Secret) or value is None:
        return value
    if info.context == TYPED and isinstance(value, str):
        if not value:
            raise ValueError("the secret is empty")
        return value
    raise ValueError(REFERENCE)


def passphrase(encryption: Any) -> Any:
    """What opens a volume, from its `encryption`."""
    return encryption.get("passphrase") if isinstance(encryption, Mapping) else None


def _encryption(value: Any, info: ValidationInfo) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"passphrase"}:
        raise ValueError("write {passphrase: {secret: env:NAME}}")
    return {"passphrase": referred(value["passphrase"], info)}


Encryption = Annotated[Any, BeforeValidator(_encryption), WithJsonSchema({"type": ["object", "null"]})]
Password = Annotated[Any, BeforeValidator(referred), WithJsonSchema({"type": ["object", "null"]})]


def misfit(desired: Any, encrypted: bool, mark: Mark | None) -> str:
    """Why what opens a volume that is there does not fit; "" when it does."""
    if encrypted and desired.encryption is None:
        return "it is encrypted, and no machine can open it unless its encryption is declared"
    other = mark is not None and mark.identity.get("digest") not in (None, desired.digest)
    if desired.encryption is not None and other:
        return "another passphrase would not open what is there; keep the former one, or make another volume"
    return ""


@lru_cache(maxsize=1024)
def _digest(value: str, salt: str) -> str:
    return hashlib.scrypt(value.encode(), salt=salt.encode(), n=1 << 13, r=8, p=1, dklen=16).hex()


def digest(value: Any, salt: str = "vinfra") -> str | None:
    """What stands for a secret in a mark; None while it is not known. It is dear to compute."""
    return _digest(value, salt) if isinstance(value, str) and not isinstance(value, Secret | Deferred) else None


def known(answers: Answers) -> frozenset[str]:
    """The uuids of all secrets of a host's libvirt."""
    raw = answers.get(SECRETS)
    lines = raw.text.splitlines() if raw is not None and raw.ok else []
    return frozenset(line.split()[0] for line in lines if line.strip())


def kept(uuid: str, sort: str, what: Mapping[str, str], said: str, value: str) -> list[Step]:
    """Tell libvirt a secret: `said`. `sort` and `what`: libvirt's usage, as a type and its element.

    Its value is a step of its own, so that what libvirt says of the rest can be read.
    """
    tree = Element("secret", ephemeral="no", private="yes")
    SubElement(tree, "uuid").text = uuid
    use = SubElement(tree, "usage", type=sort)
    for key, text in what.items():
        SubElement(use, key).text = text
    define = Virt(Verb.SECRET_DEFINE, uuid, xml=tostring(tree, "unicode"))
    tell = Virt(Verb.SECRET_SET, uuid, content=value.encode())
    return [Step(f"make a secret in libvirt for {said}", (define,)), Step(f"tell libvirt {said}", (tell,), secret=True)]


def forgotten(uuid: str) -> Virt:
    """The call that makes libvirt forget a secret."""
    return Virt(Verb.SECRET_UNDEFINE, uuid)
