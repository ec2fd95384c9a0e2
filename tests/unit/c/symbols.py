"""symbols.py LIBRARY HEADER: the library exports what the header declares, and nothing else."""

import re
import subprocess
import sys

library, header = sys.argv[1:]
text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
declared = set(re.findall(r"XST_API[^;(]*?\b(xst_\w+)\(", text))
lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
exported = {line.split()[-1].split("@")[0] for line in lines.splitlines() if " A " not in line}
assert len(declared) > 40, declared
if declared != exported:
    sys.exit(f"declared only: {sorted(declared - exported)}; exported only: {sorted(exported - declared)}")
print(len(exported), "symbols")
