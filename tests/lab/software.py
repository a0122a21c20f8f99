"""A signed repository of one package, for apt and for dnf, made on a host of the lab by the real programs."""

from collections.abc import Callable
from subprocess import CompletedProcess

SUITE = "dists/stable"
APT = f"""\
set -e
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/root/gpg
apt-get install -y -qq --no-install-recommends gnupg apt-utils >/dev/null 2>&1
mkdir -p /srv/repo/{SUITE}/main/binary-amd64 /srv/repo/pool /tmp/p/DEBIAN
cat >/tmp/p/DEBIAN/control <<END
Package: vinfra-hello
Version: 1.0
Architecture: all
Maintainer: T <t@example.org>
Description: hello
END
dpkg-deb -b /tmp/p /srv/repo/pool/vinfra-hello_1.0_all.deb
cd /srv/repo
apt-ftparchive packages pool >{SUITE}/main/binary-amd64/Packages
apt-ftparchive -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Components=main \
    -o APT::FTPArchive::Release::Architectures=amd64 release {SUITE} >/tmp/Release
mv /tmp/Release {SUITE}/Release
mkdir -m 700 $GNUPGHOME
for who in trial other; do
    gpg --batch --passphrase '' --quick-gen-key $who@example.org rsa3072 sign never
    gpg --armor --export $who@example.org >/root/$who.asc
done
gpg --export trial@example.org >/root/trial.gpg
gpg -u trial@example.org --clearsign -o {SUITE}/InRelease {SUITE}/Release
"""

RPM = """\
set -e
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/root/gpg
apt-get install -y -qq --no-install-recommends dnf createrepo-c rpm gnupg >/dev/null 2>&1
mkdir -p /tmp/rpm /srv/rpm /root/gpg && chmod 700 /root/gpg
gpg --batch --passphrase '' --quick-gen-key trial@example.org rsa3072 sign never
gpg --armor --export trial@example.org >/root/trial.asc
cat >/tmp/rpm/hello.spec <<END
Name: vinfra-hello
Version: 1.0
Release: 1
Summary: hello
License: none
BuildArch: noarch
%description
hello
%files
END
rpmbuild -bb --define '_topdir /tmp/rpm' /tmp/rpm/hello.spec
rpmsign --define '__gpg /usr/bin/gpg' --define '_gpg_name trial@example.org' --addsign /tmp/rpm/RPMS/noarch/*.rpm
cp /tmp/rpm/RPMS/noarch/*.rpm /srv/rpm/
createrepo_c -q /srv/rpm
printf 'ID=fedora\\nVERSION_ID=40\\nPRETTY_NAME="told to be a Fedora"\\n' >/etc/os-release
"""


def make(ssh: Callable[..., CompletedProcess[str]], host: object, script: str) -> None:
    """Run one of the two on a host."""
    done = ssh(host, "sh -s", stdin=script)
    assert done.returncode == 0, done.stdout + done.stderr
