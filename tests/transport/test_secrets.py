"""Secrets by reference, from what the real programs made: age, SOPS and ansible-vault; Vault has a file of its own."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from vinfra.errors import LoginRefused, Unresolved
from vinfra.model.secret import Secret
from vinfra.transport import secrets as module
from vinfra.transport.providers import age, sops
from vinfra.transport.secrets import Secrets, password_of

Tool = Callable[..., str]
CACHE = Path(os.environ.get("VINFRA_CACHE") or Path(__file__).parents[2] / ".cache")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests is read."""
    for name in list(os.environ):
        if name.startswith(("VAULT_", "BAO_", "SOPS_", "ANSIBLE_", "VINFRA_AGE", "VINFRA_VAULT", "XDG_CONFIG")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Run one of the programs that `make setup` installs beside the cache; they are on the PATH for vinfra too."""
    monkeypatch.setenv("PATH", f"{CACHE / 'tools/bin'}:{os.environ['PATH']}")

    def run(*command: object, stdin: str = "") -> str:
        assert shutil.which(str(command[0])), "make setup installs it"
        done = subprocess.run([*map(str, command)], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def reveal(reference: str) -> str:
    return Secrets().reveal(Secret(reference))


def refused(reference: str) -> str:
    with pytest.raises(Unresolved) as told:
        reveal(reference)
    assert str(told.value).startswith(f"(secret {reference}): "), told.value
    return str(told.value)


def private(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def test_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter22\n")
    assert "can be read by others\n  chmod 600" in refused(f"file:{file}")
    file.chmod(0o600)
    assert reveal(f"file:{file}") == "hunter22"
    monkeypatch.setenv("PW", "hunter33")
    assert reveal("env:PW") == "hunter33"
    monkeypatch.setenv("PW", "")
    assert "PW is empty" in refused("env:PW")
    file.write_bytes(b"hunter\xff")
    for reference in ("env:NONE", "file:/none", f"file:{file}", "nothing:x", "hunter22", f"file:{tmp_path}"):
        assert "hunter\xff" not in refused(reference)


def test_each_is_asked_for_once_and_what_is_down_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets, asked = Secrets(), list[str]()

    def fetch(path: str) -> object:
        asked.append(path)
        if path == "/shut":
            raise sops.source.Shut("no sops")
        if path == "/bad":
            raise Unresolved("bad file")
        return {"a": "first", "b": {"c": "5", "d": True, "e": None, "l": ["x", "y"]}, "b.c": "dotted"}

    monkeypatch.setattr(sops, "fetch", fetch)
    for _ in range(2):
        assert secrets.reveal(Secret("sops:/f#a")) == "first"
        assert secrets.reveal(Secret("sops:/f#b.c")) == "dotted"
        assert secrets.reveal(Secret("sops:/f#b.d")) == "true"
        assert secrets.reveal(Secret("sops:/f#b.l.1")) == "y"
        for key, why in (("b", "no value"), ("b.e", "empty"), ("z", "no key 'z'"), ("b.l.2", "'2'"), ("a.b", "'b'")):
            with pytest.raises(Unresolved, match=why):
                secrets.reveal(Secret(f"sops:/f#{key}"))
        for key in "ab":
            with pytest.raises(Unresolved, match="bad file"):
                secrets.reveal(Secret(f"sops:/bad#{key}"))
    assert asked == ["/f", "/bad"]
    for path in ("/shut", "/g"):
        with pytest.raises(Unresolved, match="no sops"):
            secrets.reveal(Secret(f"sops:{path}#a"))
    assert asked == ["/f", "/bad", "/shut"]


def test_a_password_is_one_line_and_its_failure_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets()
    assert password_of(secrets, None, "web: password") == ""
    monkeypatch.setenv("PW", "one\ntwo")
    for name, why in (("PW", "more than one line"), ("NONE", "NONE is not set")):
        with pytest.raises(LoginRefused, match=f"web: password: .*{why}"):
            password_of(secrets, Secret(f"env:{name}"), "web: password")


def test_a_scheme_has_its_provider() -> None:
    for name in module.PROVIDERS.values():
        assert callable(__import__(name, fromlist=["fetch"]).fetch)


@pytest.mark.parametrize(
    ("scheme", "library", "extra"), [("age:/x", "pyrage", "age"), ("vault:a/b#c", "hvac", "vault")]
)
def test_a_library_that_is_not_installed_is_named(
    scheme: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    assert f"{library} is not installed here\n  pip install 'vinfra[{extra}]'" in refused(scheme)


# age


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pyrage.x25519.Identity:
    made = pyrage.x25519.Identity.generate()
    file = private(tmp_path / "age.txt", f"# created: today\n# public key: {made.to_public()}\n{made}\n")
    monkeypatch.setenv(age.VARIABLE, str(file))
    return made


def test_age(tmp_path: Path, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "db.age"
    file.write_bytes(pyrage.encrypt("hunter-äge\n".encode(), [identity.to_public()]))
    assert reveal(f"age:{file}") == "hunter-äge"
    file.write_bytes(pyrage.encrypt(b"armored", [identity.to_public()], armored=True))
    assert reveal(f"age:{file}") == "armored"
    file.write_bytes(pyrage.encrypt(b"other", [pyrage.x25519.Identity.generate().to_public()]))
    assert f"was it encrypted for the identity in {tmp_path / 'age.txt'}?" in refused(f"age:{file}")
    file.write_bytes(b"age-encryption.org/v1\n-> X25519")
    refused(f"age:{file}")
    file.write_bytes(pyrage.encrypt(b"\xff", [identity.to_public()]))
    assert "not UTF-8" in refused(f"age:{file}")
    assert "No such file" in refused(f"age:{tmp_path / 'none.age'}")
    (tmp_path / "age.txt").chmod(0o640)
    assert "age.txt can be read by others" in refused(f"age:{file}")
    private(tmp_path / "age.txt", "AGE-SECRET-KEY-1WRONG")
    told = refused(f"age:{file}")
    assert "no age identity that can be used" in told
    assert "WRONG" not in told
    monkeypatch.delenv(age.VARIABLE)
    assert ".config/vinfra/age.txt\n  name its file in VINFRA_AGE_IDENTITY" in refused(f"age:{file}")


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_age_with_an_ssh_key(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    for name, phrase in (("open", ""), ("locked", "secret")):
        tool(
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            *(("-b", "2048") if kind == "rsa" else ()),
            "-N",
            phrase,
            "-f",
            tmp_path / name,
        )
    recipients = [pyrage.ssh.Recipient.from_str((tmp_path / f"{name}.pub").read_text()) for name in ("open", "locked")]
    file = tmp_path / "db.age"
    file.write_bytes(pyrage.encrypt(b"by ssh", recipients))
    monkeypatch.setenv(age.VARIABLE, str(tmp_path / "open"))
    assert reveal(f"age:{file}") == "by ssh"
    monkeypatch.setenv(age.VARIABLE, str(tmp_path / "locked"))
    refused(f"age:{file}")


# SOPS


def test_sops(tmp_path: Path, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "age.txt"))
    plain = tmp_path / "plain.yaml"
    plain.write_text("db: {password: 'hunter #2', port: 5432, ratio: 1.10, on: true, words: [a, b]}\nempty: ''\n")
    encrypt = ("sops", "--encrypt", "--age", identity.to_public())
    file = tmp_path / "secret#1.yaml"
    file.write_text(tool(*encrypt, plain))
    assert reveal(f"sops:{file}#db.password") == "hunter #2"
    for key, value in (("port", "5432"), ("on", "true"), ("words.1", "b")):
        assert reveal(f"sops:{file}#db.{key}") == value
    assert "no key 'pasword'; did you mean password?" in refused(f"sops:{file}#db.pasword")
    assert "is empty" in refused(f"sops:{file}#empty")
    binary = tmp_path / "key.bin"
    binary.write_text("-----BEGIN KEY-----\nabc\n")
    sealed = tmp_path / "key.bin.sops"
    sealed.write_text(tool(*encrypt, "--input-type", "binary", binary))
    assert reveal(f"sops:{sealed}#data") == "-----BEGIN KEY-----\nabc\n"
    assert "sops does not open" in refused(f"sops:{plain}#db")
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    told = refused(f"sops:{file}#db.password")
    assert "data key" in told
    assert "there is no file" in refused(f"sops:{tmp_path}/none#a")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sops is not on the PATH\n  https://getsops.io" in refused(f"sops:{file}#db.password")


# ansible-vault


@pytest.fixture
def vaulted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool) -> Path:
    """Files that ansible-vault itself made."""
    password = private(tmp_path / "password", "vault pass word\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    plain = "db:\n  password: hünter\n  port: 0644\ntop: x\n"
    for name, label in (("old.yml", ()), ("new.yml", ("--encrypt-vault-id", "prod", "--vault-id", f"prod@{password}"))):
        (tmp_path / name).write_text(plain)
        tool("ansible-vault", "encrypt", *label, tmp_path / name)
    inline = tool("ansible-vault", "encrypt_string", "--name", "token", "inl1ne")
    (tmp_path / "vars.yml").write_text(f"plain: seen\n{inline}\nnested:\n  - {{k: v}}\n")
    return tmp_path


def test_ansible_vault(vaulted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (vaulted / "old.yml").read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert (vaulted / "new.yml").read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    for name in ("old.yml", "new.yml"):
        assert reveal(f"ansible-vault:{vaulted / name}#db.password") == "hünter"
        assert reveal(f"ansible-vault:{vaulted / name}#db.port") == "0644"
        assert reveal(f"ansible-vault:{vaulted / name}").endswith("top: x\n")
    assert reveal(f"ansible-vault:{vaulted / 'vars.yml'}#token") == "inl1ne"
    assert "'plain' is not encrypted" in refused(f"ansible-vault:{vaulted / 'vars.yml'}#plain")
    assert "several values" in refused(f"ansible-vault:{vaulted / 'vars.yml'}")
    assert "no key 'tokn'; did you mean token?" in refused(f"ansible-vault:{vaulted / 'vars.yml'}#tokn")
    monkeypatch.setenv("VINFRA_VAULT_PASSWORD_FILE", str(private(vaulted / "wrong", "other\n")))
    assert f"the password in {vaulted / 'wrong'} does not open" in refused(f"ansible-vault:{vaulted / 'old.yml'}#top")
    script = vaulted / "script"
    script.write_text("#!/bin/sh\necho vault pass word\n")
    script.chmod(0o700)
    monkeypatch.setenv("VINFRA_VAULT_PASSWORD_FILE", str(script))
    assert reveal(f"ansible-vault:{vaulted / 'old.yml'}#top") == "x"
    script.write_text("#!/bin/sh\nexit 3\n")
    assert "status 3" in refused(f"ansible-vault:{vaulted / 'old.yml'}#top")


def test_ansible_vault_files_that_are_none(vaulted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, bad = (vaulted / "old.yml").read_text(), vaulted / "bad.yml"
    lines = whole.splitlines()
    for text, why in (
        ("a: b\n", "nothing in"),
        (whole[:200], "not a whole vault"),
        ("\n".join([lines[0], lines[2], lines[1], *lines[3:]]), "does not open|not a whole vault"),
        (whole.replace("1.1", "9.1"), "not known"),
        (whole.replace("3", "x", 5), "not a whole vault"),
        ("$ANSIBLE_VAULT;", "not known"),
        (f"a: [$ANSIBLE_VAULT;\n{whole}", "no YAML in line"),
    ):
        bad.write_text(text)
        with pytest.raises(Unresolved, match=why):
            reveal(f"ansible-vault:{bad}#a")
    (vaulted / "password").chmod(0o644)
    assert "can be read by others" in refused(f"ansible-vault:{vaulted / 'old.yml'}")
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    assert "export VINFRA_VAULT_PASSWORD_FILE" in refused(f"ansible-vault:{vaulted / 'old.yml'}")
