"""Starts Millrace on a database of its own and runs the samples in a browser against it.

    browser.py WORK      by script/clients --browser, which sets DATABASE_URL and REDIS_URL; WORK holds the samples
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fuzz"))

from run import database, millrace  # noqa: E402  (the same processes as the fuzzer's)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser():
    """The path of a browser; Debian's is installed where that is allowed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found or not shutil.which("apt-get"):
        return found
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    print("clients: installing chromium", file=sys.stderr)
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    for command in (["apt-get", "-q", "-y", "update"],
                    ["apt-get", "-q", "-y", "install", "--no-install-recommends", "chromium"]):
        subprocess.run([*sudo, *environment, *command], stdout=subprocess.DEVNULL)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def main():
    work = Path(sys.argv[1])
    path = browser()
    if path is None:
        print("clients: NO CHROMIUM: the samples have NOT run in a browser", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    subprocess.run([work.parent / "node_modules/.bin/tsc", "-p", "tsconfig.json", "--noEmit", "false", "--outDir", "js"],
                   cwd=work, check=True)
    shutil.copy(HERE / "browser.mjs", work)
    with tempfile.TemporaryDirectory() as folder, database() as url, millrace(url, Path(folder)) as base:
        return subprocess.run(["node", "browser.mjs", path, base], cwd=work).returncode


if __name__ == "__main__":
    sys.exit(main())
