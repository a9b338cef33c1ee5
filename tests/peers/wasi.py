#!/usr/bin/env python3
"""Runs the WASI test suite's programs in containers of isolation wasm.

    tests/peers/wasi.py CHECKOUT [RUNTIME]

CHECKOUT is one of the suite's branch prod/testsuite-base, where the programs are built; RUNTIME is the hull of this
tree's release build unless named, with hull-wasm and hull-wasmc beside it. As root. Each program gets a bundle whose
root is a copy of the directory that its description names, and has to end with the exit code and the output that are described.
Prints a line for each that fails, and the counts; fails if one did.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SUITES = ["tests/assemblyscript", "tests/c", "tests/rust"]
# The module's own file; the one thing in the root that its description doesn't know of.
MODULE = ".module.wasm"
SECONDS = 60


def description(module):
    path = module.removesuffix(".wasm") + ".json"
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def bundle(directory, module, about):
    root = os.path.join(directory, "rootfs")
    if name := about.get("root") or next(iter(about.get("dirs", [])), None):
        shutil.copytree(os.path.join(os.path.dirname(module), name), root, symlinks=True)
    else:
        os.mkdir(root)
    shutil.copy(module, os.path.join(root, MODULE))
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["/" + MODULE, *about.get("args", [])],
            "env": [f"{key}={value}" for key, value in about.get("env", {}).items()],
        },
        # A program that is to be given no directory.
        "annotations": {} if "root" in about or "dirs" in about else {"dev.hull.wasm.files": "none"},
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")]},
    }
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


def run(runtime, work, module):
    """What went wrong; nothing if all is as described."""
    about = description(module)
    with tempfile.TemporaryDirectory(dir=work) as directory:
        bundle(directory, module, about)
        name = "wasi-" + os.path.basename(directory)
        command = [runtime, "--root", os.path.join(work, "state"), "run", "--isolation", "wasm", "--bundle", directory, name]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            subprocess.run([*command[:3], "delete", "--force", name], check=False)
            return f"it did not end within {SECONDS} s"
    if done.returncode != about.get("exit_code", 0):
        return f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()[-400:]}"
    wanted = about.get("stdout")
    if wanted is not None and done.stdout.decode(errors="replace") != wanted:
        return f"printed {done.stdout!r}, not {wanted!r}"
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    runtime = sys.argv[2] if len(sys.argv) > 2 else glob.glob(os.path.join(HERE, "../../target/*/release/hull"))[0]
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as work:
        for suite in SUITES:
            for module in sorted(glob.glob(os.path.join(sys.argv[1], suite, "testsuite/wasm32-wasip1/*.wasm"))):
                problem = run(os.path.abspath(runtime), work, module)
                passed, failed = passed + (problem is None), failed + (problem is not None)
                if problem:
                    print(f"FAIL {suite}/{os.path.basename(module)}: {problem}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or passed == 0)


if __name__ == "__main__":
    main()
