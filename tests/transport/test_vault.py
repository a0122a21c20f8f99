"""Secrets in Vault, by OpenBao itself over TLS.

OpenBao is the fork of HashiCorp's Vault and speaks its API. Vault itself comes from no package registry: nothing here
was tried on one.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport import test_secrets
from tests.transport.test_secrets import CACHE, Tool, private, refused, reveal
from vinfra.model.secret import Secret
from vinfra.transport.secrets import Secrets

ROOT = "root-token-of-a-test"
no_settings = test_secrets.no_settings


def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The server's address and the certificate of who signed its own. In memory only, gone after the tests."""
    folder, listen = tmp_path_factory.mktemp("bao"), f"127.0.0.1:{port()}"
    command = [str(CACHE / "tools/bin/bao"), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={folder}"]
    command += [f"-dev-root-token-id={ROOT}", f"-dev-listen-address={listen}", "-dev-no-store-token"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": os.environ["PATH"]}) as bao,
    ):
        try:
            for _ in range(300):
                if "Root Token:" in (folder / "log").read_text():
                    break
                assert bao.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield f"https://{listen}", folder / "vault-ca.pem"
        finally:
            bao.send_signal(signal.SIGKILL)


@pytest.fixture
def bao(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Run its client as root; vinfra's own settings point at the server too."""
    address, authority = server
    for name, value in (("ADDR", address), ("CACERT", str(authority)), ("TOKEN", ROOT)):
        monkeypatch.setenv(f"VAULT_{name}", value)
    environment = {**os.environ, "BAO_ADDR": address, "BAO_CACERT": str(authority), "BAO_TOKEN": ROOT}

    def run(*command: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(CACHE / "tools/bin/bao"), *command],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_both_versions_and_mounts_of_any_depth(bao: Tool) -> None:
    bao("kv", "put", "secret/app/db", "password=first")
    bao("kv", "put", "secret/app/db", "password=hunter2", "dotted.name=d")
    assert reveal("vault:secret/app/db#password") == "hunter2"
    assert reveal("vault:secret/app/db#dotted.name") == "d"
    for mount, version in (("old", "1"), ("team/deep", "2")):
        bao("secrets", "enable", f"-path={mount}", f"-version={version}", "kv")
        bao("kv", "put", f"{mount}/x/y", "a=b")
        assert reveal(f"vault:{mount}/x/y#a") == "b"
        assert "has nothing at" in refused(f"vault:{mount}/x/z#a")
    bao("kv", "put", "secret/gone", "a=b")
    bao("kv", "delete", "secret/gone")
    assert "has nothing at secret/gone\n  vault kv get secret/gone" in refused("vault:secret/gone#a")
    assert "no key 'pasword'; did you mean password?" in refused("vault:secret/app/db#pasword")
    bao("secrets", "enable", "transit")
    assert "is transit, not key-value" in refused("vault:transit/x#a")


def test_a_namespace(bao: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    bao("namespace", "create", "unit")
    bao("secrets", "enable", "-namespace=unit", "-path=kv", "-version=2", "kv")
    bao("kv", "put", "-namespace=unit", "kv/x", "a=inside")
    refused("vault:kv/x#a")
    monkeypatch.setenv("VAULT_NAMESPACE", "unit")
    assert reveal("vault:kv/x#a") == "inside"


def test_a_token_that_may_not(bao: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bao("kv", "put", "secret/open", "a=b")
    bao("kv", "put", "secret/closed", "a=b")
    bao("policy", "write", "narrow", "-", stdin='path "secret/data/open" { capabilities = ["read"] }')
    token = bao("token", "create", "-policy=narrow", "-field=token")
    monkeypatch.delenv("VAULT_TOKEN")
    assert "there is no token for Vault\n  vault login" in refused("vault:secret/open#a")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(private(tmp_path / "token", f"{token}\n")))
    assert reveal("vault:secret/open#a") == "b"
    assert "does not let this token read secret/closed" in refused("vault:secret/closed#a")
    private(tmp_path / "token", "s.wrong-token")
    told = refused("vault:secret/open#a")
    assert "does not let this token" in told
    assert "wrong-token" not in told
    (tmp_path / "token").chmod(0o644)
    assert "token can be read by others" in refused("vault:secret/open#a")
    monkeypatch.delenv("VAULT_TOKEN_FILE")
    private(Path.home() / ".vault-token", token)
    assert reveal("vault:secret/open#a") == "b"


def test_who_answers_must_be_the_one(bao: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bao("kv", "put", "secret/x", "a=b")
    monkeypatch.delenv("VAULT_CACERT")
    monkeypatch.setenv("VAULT_SKIP_VERIFY", "true")
    told = refused("vault:secret/x#a")
    assert "cannot be verified" in told
    assert "VAULT_CACERT" in told
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "none.pem"))
    assert "VAULT_CACERT names no file" in refused("vault:secret/x#a")
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example.net:8200")
    assert "where anybody on the way reads along\n  write https" in refused("vault:secret/x#a")
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{port()}")
    monkeypatch.delenv("VAULT_CACERT")
    assert "no answer from Vault at http://127.0.0.1" in refused("vault:secret/x#a")
    monkeypatch.delenv("VAULT_ADDR")
    assert "export VAULT_ADDR=" in refused("vault:secret/x#a")


def test_a_server_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # answers to connections, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("vinfra.transport.providers.vault._SECONDS", 0.5)
        monkeypatch.setenv("VAULT_ADDR", f"https://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("VAULT_TOKEN", "x")
        secrets, began = Secrets(), time.monotonic()
        for number in range(20):
            with pytest.raises(Exception, match="no answer from Vault"):
                secrets.reveal(Secret(f"vault:secret/{number}#a"))
        assert time.monotonic() - began < 5


def test_a_sealed_server_says_so(bao: Tool) -> None:  # the last one: nothing opens it again
    bao("operator", "seal")
    assert "sealed" in refused("vault:secret/x#a").lower()
