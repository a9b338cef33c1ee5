#!/usr/bin/env python3
"""An adapter, by which the WASI test suite's own runner has its programs run in containers of isolation wasm.

    CHECKOUT/run-tests --runtime-adapter tests/peers/wasi.py

CHECKOUT is one of the suite's branch prod/testsuite-base, where the programs are built. As root. The environment's HULL
names a hull, with hull-wasm and hull-wasmc beside it; it is the release build of this tree otherwise. Each program gets a
bundle of its own, whose root is a copy of the directory that its description names, and the host's network where it asks
for HTTP or sockets.
"""

import atexit
import glob
import json
import os
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = None


def hull():
    found = glob.glob(os.path.join(HERE, "../../target/*/release/hull"))
    return os.path.abspath(os.environ.get("HULL") or next(iter(found), "hull"))


def get_name():
    return "hull"


def get_version():
    said = subprocess.run([hull(), "--version"], check=True, capture_output=True, text=True).stdout
    return said.split()[2]


def get_wasi_versions():
    return ["wasm32-wasip1", "wasm32-wasip3"]


def get_wasi_worlds():
    return ["wasi:cli/command", "wasi:http/service"]


def get_timeout_seconds():
    return 60


def state():
    return os.path.join(WORK, "state")


def clean():
    """Whoever was killed with hull, and the bundles."""
    listed = subprocess.run([hull(), "--root", state(), "list", "--quiet"], check=False, capture_output=True, text=True)
    for name in listed.stdout.split():
        subprocess.run([hull(), "--root", state(), "delete", "--force", name], check=False)
    shutil.rmtree(WORK)


def compute_argv(test_path, args_env_root, proposals, _world, _version):
    global WORK  # pylint: disable=global-statement
    if WORK is None:
        WORK = tempfile.mkdtemp()
        atexit.register(clean)
    args, env, root = args_env_root
    # The one thing in the root that its description doesn't know of.
    program = os.path.basename(test_path)
    # So that a report tells which one it was.
    bundle = tempfile.mkdtemp(dir=WORK, prefix=program + "-")
    rootfs = os.path.join(bundle, "rootfs")
    if root:
        shutil.copytree(root, rootfs, symlinks=True)
    else:
        os.mkdir(rootfs)
    shutil.copy(test_path, os.path.join(rootfs, program))
    namespaces = ["mount", "pid", "ipc", "uts"] + ([] if proposals else ["network"])
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": [program, *args],
            "env": [f"{key}={value}" for key, value in env.items()],
        },
        "annotations": {"dev.hull.wasm.files": "root" if root else "none"},
        "linux": {"namespaces": [{"type": kind} for kind in namespaces]},
    }
    if "http" in proposals:
        config["annotations"]["dev.hull.wasm.http.listen"] = "127.0.0.1:0"
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return [hull(), "--root", state(), "run", "--isolation", "wasm", "--bundle", bundle, os.path.basename(bundle)]
