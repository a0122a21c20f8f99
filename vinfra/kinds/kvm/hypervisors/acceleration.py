"""Whether KVM really runs guests on a host: a guest of 47 bytes finds out, and a file on the host keeps the answer.

Neither flags nor /dev/kvm prove it. There are hosts whose KVM takes a guest and then emulates every one of its
instructions: SeaBIOS gets through within seconds, a kernel never does. So this guest counts, which takes a CPU a blink,
TCG less than a second, and such a KVM minutes. It is one for x86_64: on other machines nothing is proved, and the note
says so.
"""

from collections.abc import Mapping
from typing import Any

from vinfra.kinds.host.facts.virtualization import DEVICE
from vinfra.model.action import Impact
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import ReadFile
from vinfra.model.step import Exec, Step

ACCELERATOR = ReadFile("/var/lib/vinfra/accelerator", limit=4096)
NO_SUCH_FILE = 2
KVM_SECONDS, TCG_SECONDS = 5, 60

# A Multiboot kernel (https://www.gnu.org/software/grub/manual/multiboot/): QEMU loads it by itself, in 32-bit protected
# mode and without a disk, on every x86 machine type. kvm-unit-tests start their guests so, and end them so, too.
GUEST = bytes.fromhex(
    "02b0ad1b"  # Multiboot's magic number
    "00000100"  # flags: the addresses below are to be used
    "fe4f51e4"  # checksum: these three add up to 0
    "00001000"  # where this header is to lie: 0x100000
    "00001000"  # where to load the file
    "2f001000"  # where what is loaded ends
    "2f001000"  # where what is to be cleared ends: there is nothing
    "20001000"  # where it starts: at the next byte
    "b900000004"  # mov ecx, 0x4000000
    "49"  # dec ecx
    "75fd"  # jnz, back to dec
    "b015"  # mov al, 0x15
    "e6f4"  # out 0xf4, al: QEMU's isa-debug-exit ends QEMU with status 0x15 * 2 + 1 = 43
    "f4"  # hlt
    "ebfd"  # jmp, back to hlt
)

# Words: the wish, the file, seconds for KVM, seconds for TCG, KVM's device. `run` tells whether the guest came to its
# end under an accelerator, and in `why` why not. Without the file nothing counts as proved: it goes first, comes last.
_SCRIPT = r"""
wish=$1 file=$2 kvm=$5
umask 077
d=$(mktemp -d) || exit
t=$d
trap 'rm -rf -- "$d" "$t"' EXIT
trap 'exit 1' HUP INT PIPE TERM
rm -f -- "$file"
printf '@GUEST@' >"$d/guest" || exit
machine=$(uname -m) why= ms=0
for q in "qemu-system-$machine" /usr/libexec/qemu-kvm qemu-kvm; do command -v "$q" >/dev/null && break; done
qemu=$("$q" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
[ -n "$qemu" ] || { echo 'no QEMU on this host' >&2; exit 1; }
run() {
if [ "$machine" != x86_64 ]; then why="not checked: there is no such guest for $machine"; return 0; fi
began=$(date +%s%N)
timeout -k 2 "$2" "$q" -accel "$1" -machine q35 -m 32 -display none -nodefaults -no-reboot \
-device isa-debug-exit,iobase=0xf4,iosize=0x04 -kernel "$d/guest" </dev/null >"$d/said" 2>&1
status=$?
ms=$((($(date +%s%N) - began) / 1000000))
case $status in
43) return 0;;
124|137) why="a guest did not count to 67108864 within $2 s: it hangs, or its instructions are emulated";;
*) why=$(grep -v warning: "$d/said" | tail -n 1); why=${why:-QEMU ended with status $status};;
esac
return 1
}
flags=$(grep -m 1 '^flags' /proc/cpuinfo | grep -woE 'vmx|svm')
case $flags in vmx) module=kvm_intel;; svm) module=kvm_amd;; *) module=;; esac
accelerator=
if [ "$wish" != off ]; then
if [ ! -e "$kvm" ]; then
why="there is no $kvm"
[ -z "$module" ] || modprobe "$module" 2>"$d/said" || why="$why: $(tail -n 1 "$d/said")"
fi
if [ -e "$kvm" ] && run kvm "$3"; then accelerator=kvm; fi
[ -n "$accelerator" ] || [ "$wish" != required ] || { echo "KVM does not work here: $why" >&2; exit 1; }
fi
[ -n "$accelerator" ] || { run tcg "$4" && accelerator=tcg; } || { echo "no guest runs here: $why" >&2; exit 1; }
[ -e "$kvm" ] && device=yes || device=no
mkdir -p -- "${file%/*}" && t=$(mktemp "${file%/*}/.accelerator.XXXXXX") &&
printf '%s\n' "accelerator=$accelerator" "wish=$wish" "kernel=$(uname -r)" "qemu=$qemu" "flags=$flags" \
"device=$device" "milliseconds=$ms" "why=$why" >"$t" && chmod 0644 "$t" && mv -f -- "$t" "$file"
"""
SCRIPT = _SCRIPT.replace("@GUEST@", "".join(f"\\{byte:03o}" for byte in GUEST))


def proof(answers: Answers) -> Mapping[str, str] | Unknown:
    """What was proved on this host, for which wish, under which kernel and QEMU; nothing when nothing was."""
    raw = answers.get(ACCELERATOR)
    if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
        return Unknown(f"cannot read {ACCELERATOR.path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
    lines = raw.text.splitlines() if raw.ok else ()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def accelerator(answers: Answers) -> str:
    """What guests are to run with on this host: "kvm", "tcg", or "" where nothing was proved."""
    known = proof(answers)
    found = "" if isinstance(known, Unknown) else known.get("accelerator", "")
    return found if found in ("kvm", "tcg") else ""


HOPELESS = (
    "the CPU shows neither vmx nor svm, and there is no /dev/kvm: enable VT-x or AMD-V in the firmware, or nested "
    "virtualisation in the hypervisor that this host runs in, or say acceleration: preferred"
)


def hopeless(facts: Mapping[str, Any], seen: Mapping[str, str]) -> bool:
    """No check could succeed. With a device but no flag it might: some hypervisors hide the flag."""
    return facts.get("arch") == "x86_64" and seen.get("flags") == "" and seen["device"] == "no"


def prove(wish: str) -> Step:
    """Find out and note it. Fails for `required` when KVM does not run the guest; nothing counts as proved then."""
    words = (wish, ACCELERATOR.path, str(KVM_SECONDS), str(TCG_SECONDS), DEVICE)
    said = "see a guest run, emulated" if wish == "off" else "see a guest run with KVM"
    call = Exec(("sh", "-s", "--", *words), stdin=SCRIPT.encode())
    return Step(f"{said}{', or else emulated' * (wish == 'preferred')}", (call,), Impact.NONE, timeout=180.0)
