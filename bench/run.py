"""All measurements, one after the other: each prints its table with the floor or the peer of the same run beside it."""

import subprocess
import sys
from pathlib import Path

for script in ("startup.py", "validate.py", "discovery.py", "kvm.py", "many.py"):
    print(f"\n== bench/{script}", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True)
