"""Ask PyPI's database about the pinned versions.

Exit codes: 0 no vulnerability known, or the database could not be asked (which is said), 1 some are known, 2 pip-audit
failed otherwise.
pip-audit itself exits with 0 where it could not look anything up.
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
# Identifier: why it does not touch us. Remove it when the version moves on.
EXPLAINED: dict[str, str] = {}


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
    done = subprocess.run([*command, "-r", CONSTRAINTS], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"Not audited: pip-audit said {done.stderr.strip().splitlines()[-1:]}")
        return 0 if "ConnectionError" in done.stderr else 2
    known = [(package, each["id"]) for package in packages for each in package.get("vulns", [])]
    asked = sum("skip_reason" not in package for package in packages)
    for package, identifier in known:
        print(f"{package['name']} {package['version']}: {identifier} {EXPLAINED.get(identifier, 'NOT EXPLAINED')}")
    print(f"Audited {asked} of {len(packages)} packages{'' if asked else ': the database cannot be asked from here'}.")
    return int(any(identifier not in EXPLAINED for _, identifier in known))


if __name__ == "__main__":
    sys.exit(main())
