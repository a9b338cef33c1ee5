#!/usr/bin/python3
"""Pods by containerd's CRI plugin, as a kubelet asks for them.

    tests/engines/cri.py SOCKET HANDLER LOGS

Prints a line for each case, as tests/engines/run does. HANDLER is hull, runc (which shows that the cases tell the truth) or
wasm; containerd has the image bb, whose program sleeps, and its shims' binary on its path. LOGS is a directory.
"""

import contextlib
import os
import subprocess
import sys
import time

import grpc

IMAGE = "docker.io/library/bb:latest"
POD, CONTAINER, NODE = 0, 1, 2
EXITED = 2
RUNNING = 1


# Of the interface (runtime.v1 of Kubernetes' cri-api) what is asked for here: a message is a dictionary of fields, each with
# its number and kind. A list is a repeated field.
def of(**fields):
    return fields


META = of(name=(1, str), uid=(2, str), namespace=(3, str), attempt=(4, int))
NAMESPACES = of(network=(1, int), pid=(2, int), ipc=(3, int), target_id=(4, str))
NUMBER = of(value=(1, int))
RESOURCES = of(cpu_shares=(3, int), memory_limit=(4, int))
POD_LINUX = of(cgroup_parent=(1, str), security=(2, of(namespaces=(1, NAMESPACES))))
POD_CONFIG = of(metadata=(1, META), hostname=(2, str), log_directory=(3, str), linux=(8, POD_LINUX))
CAPABILITIES = of(add=(1, [str]), drop=(2, [str]))
SECURITY = of(capabilities=(1, CAPABILITIES), namespaces=(3, NAMESPACES), user=(5, NUMBER), read_only=(7, bool),
              groups=(8, [int]), no_new_privs=(11, bool))
CONFIG = of(metadata=(1, of(name=(1, str), attempt=(2, int))), image=(2, of(image=(1, str))), command=(3, [str]),
            working_dir=(5, str), envs=(6, [of(key=(1, str), value=(2, str))]),
            mounts=(7, [of(container_path=(1, str), host_path=(2, str), readonly=(3, bool))]), log_path=(11, str),
            linux=(15, of(resources=(1, RESOURCES), security=(2, SECURITY))))
STATUS = of(status=(1, of(id=(1, str), state=(3, int), exit_code=(7, int), reason=(10, str))))
STATS = of(stats=(1, of(cpu=(2, of(used=(2, NUMBER))), memory=(3, of(working=(2, NUMBER))))))
ID = of(id=(1, str))
CALLS = {
    "RunPodSandbox": (of(config=(1, POD_CONFIG), runtime_handler=(2, str)), ID),
    "StopPodSandbox": (ID, of()),
    "RemovePodSandbox": (ID, of()),
    "CreateContainer": (of(pod=(1, str), config=(2, CONFIG), pod_config=(3, POD_CONFIG)), ID),
    "StartContainer": (ID, of()),
    "StopContainer": (of(id=(1, str), timeout=(2, int)), of()),
    "RemoveContainer": (ID, of()),
    "ContainerStatus": (ID, STATUS),
    "ContainerStats": (ID, STATS),
    "UpdateContainerResources": (of(id=(1, str), linux=(2, RESOURCES)), of()),
    "ExecSync": (of(id=(1, str), cmd=(2, [str]), timeout=(3, int)), of(stdout=(1, str), stderr=(2, str), exit_code=(3, int))),
}


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def encode(kind, message):
    out = b""
    for name, value in message.items():
        number, field = kind[name]
        for one in value if isinstance(field, list) else [value]:
            one_kind = field[0] if isinstance(field, list) else field
            if one_kind in (int, bool):
                out += varint(number << 3) + varint(int(one))
            else:
                data = one.encode() if one_kind is str else encode(one_kind, one)
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def number_at(data, at):
    number, shift = 0, 0
    while True:
        byte = data[at]
        number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return number, at


def decode(kind, data):
    names = {number: (name, field) for name, (number, field) in kind.items()}
    message = {name: {} if isinstance(field, dict) else "" if field is str else 0 for name, (_, field) in kind.items()}
    at = 0
    while at < len(data):
        key, at = number_at(data, at)
        if key & 7 == 0:
            value, at = number_at(data, at)
        elif key & 7 == 2:
            length, at = number_at(data, at)
            value, at = data[at:at + length], at + length
        else:
            raise ValueError(f"wire type {key & 7}")
        name, field = names.get(key >> 3, (None, None))
        if name:
            message[name] = value if field in (int, bool) else value.decode() if field is str else decode(field, value)
    return message


class Engine:
    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix://{socket}")

    def __call__(self, method, **message):
        asked, told = CALLS[method]
        call = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda m: encode(asked, m),
            response_deserializer=lambda data: decode(told, data),
        )
        return call(message, timeout=30, wait_for_ready=True)


class Cases:
    """The cases of one handler."""

    def __init__(self, engine, handler, logs):
        self.engine, self.handler, self.logs = engine, handler, logs
        self.wasm = handler == "wasm"
        self.counts = {"ok": 0, "FAIL": 0}
        self.pod_config = None
        self.pod = None

    def check(self, name, wanted, got):
        good = wanted(got) if callable(wanted) else got == wanted
        self.counts["ok" if good else "FAIL"] += 1
        print(f"ok     cri {self.handler}: {name}" if good else f"FAIL   cri {self.handler}: {name}: got {got!r}", flush=True)

    def begin(self, name, **namespaces):
        self.pod_config = {
            "metadata": {"name": name, "uid": f"{name}-{time.time()}", "namespace": "default"},
            "log_directory": self.logs,
            # The host's network needs no plugin.
            "linux": {"cgroup_parent": f"/{name}-{os.getpid()}", "security": {"namespaces": {"network": NODE, **namespaces}}},
        }
        self.pod = self.engine("RunPodSandbox", config=self.pod_config, runtime_handler=self.handler)["id"]

    def end(self):
        self.engine("StopPodSandbox", id=self.pod)
        self.engine("RemovePodSandbox", id=self.pod)

    def container(self, name, command, security=None, **more):
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": f"{name}.log",
            "linux": {
                "resources": {"memory_limit": 64 << 20},
                "security": {"namespaces": self.pod_config["linux"]["security"]["namespaces"], **(security or {})},
            },
            **more,
        }
        made = self.engine("CreateContainer", pod=self.pod, config=config, pod_config=self.pod_config)["id"]
        self.engine("StartContainer", id=made)
        return made

    def exec(self, container, *command, timeout=10):
        done = self.engine("ExecSync", id=container, cmd=command, timeout=timeout)
        return done["stdout"], done["stderr"], done["exit_code"]

    def status(self, container):
        return self.engine("ContainerStatus", id=container)["status"]

    def ended(self, container):
        for _ in range(200):
            status = self.status(container)
            if status["state"] == EXITED:
                break
            time.sleep(0.05)
        return status["exit_code"], status["reason"]

    def shims(self):
        return subprocess.run(["pgrep", "-f", f"containerd-shim.*{self.pod}"], capture_output=True, text=True, check=False).stdout.split()

    def common(self):
        """What every handler can do, by the image's program for it."""
        spin = ["/probe.wasm", "spin"] if self.wasm else ["sh", "-c", "echo out; echo err >&2; while :; do sleep 0.1; done"]
        self.begin("common")
        first, second = self.container("first", spin), self.container("second", spin)
        self.check("a pod has one shim", 1, len(self.shims()))
        self.check("both containers run", (RUNNING, RUNNING), (self.status(first)["state"], self.status(second)["state"]))
        fails = ["/probe.wasm", "exit", "5"] if self.wasm else ["sh", "-c", "exit 5"]
        self.check("exec has an exit code", 5, self.exec(first, *fails)[2])
        says = ["/probe.wasm", "args", "a b"] if self.wasm else ["echo", "a b"]
        self.check("exec's output", "a b", self.exec(first, *says)[0].splitlines()[-1])
        self.check("exec of a missing program names it", lambda e: "/nonexistent" in e, self.problem(first, "/nonexistent"))
        stats = self.engine("ContainerStats", id=first)["stats"]
        self.check("statistics", lambda n: min(n) > 0, (stats["cpu"]["used"]["value"], stats["memory"]["working"]["value"]))
        self.engine("UpdateContainerResources", id=first, linux={"memory_limit": 80 << 20})
        self.check("a limit that was changed", str(80 << 20), self.limit(first))
        self.engine("StopContainer", id=first, timeout=10)
        self.check("a container that was stopped", (143, "Error"), self.ended(first))
        self.check("the other one runs on", RUNNING, self.status(second)["state"])
        self.engine("RemoveContainer", id=first)
        shims, pod = self.shims(), self.pod
        self.end()
        for _ in range(40):
            # One that has ended has no command line, though nobody may have reaped it yet.
            left = [pid for pid in shims if self.is_running(pid)]
            if not left:
                break
            time.sleep(0.05)
        self.check("no shim outlives its pod", [], left)
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            self.check("no mount is left", [], [line for line in mounts if pod in line])

    @staticmethod
    def is_running(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read() != b""
        except (FileNotFoundError, ProcessLookupError):
            return False

    def problem(self, container, *command, timeout=10):
        try:
            return str(self.exec(container, *command, timeout=timeout))
        except grpc.RpcError as e:
            return f"{e.code().name}: {e.details()}"

    def limit(self, container):
        for path in (f"/sys/fs/cgroup/memory/common-{os.getpid()}/{container}/memory.limit_in_bytes",
                     f"/sys/fs/cgroup/common-{os.getpid()}/{container}/memory.max"):
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
                return file.read().strip()
        return "no such cgroup"

    def processes(self):
        """What is a process's own."""
        self.begin("processes")
        trap = self.container("trap", ["sh", "-c", "echo out; echo err >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done"])
        self.check("exec's errors are apart", ("o\n", "e\n", 0), self.exec(trap, "sh", "-c", "echo o; echo e >&2"))
        self.check("exec has its time", lambda e: "DEADLINE_EXCEEDED" in e, self.problem(trap, "sleep", "77", timeout=1))
        self.check("and is gone then", "0\n", self.exec(trap, "sh", "-c", "ps -o args | grep -c '^sleep 77$'")[0])
        with open(os.path.join(self.logs, "trap.log"), encoding="utf-8") as log:
            lines = sorted(line.split(" ", 1)[1].strip() for line in log)
        self.check("both streams are in the log", ["stderr F err", "stdout F out"], lines)
        self.engine("StopContainer", id=trap, timeout=10)
        self.check("TERM is heard", (3, "Error"), self.ended(trap))
        deaf = self.container("deaf", ["sh", "-c", "trap '' TERM; touch /deaf; while :; do sleep 0.1; done"])
        for _ in range(100):
            if self.exec(deaf, "ls", "/deaf")[2] == 0:
                break
        self.engine("StopContainer", id=deaf, timeout=1)
        self.check("one that is deaf to TERM is killed", (137, "Error"), self.ended(deaf))
        done = self.container("done", ["true"])
        self.check("one that ends by itself", (0, "Completed"), self.ended(done))
        hungry = self.container("hungry", ["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' a)"])
        self.check("one that wants too much memory", (137, "OOMKilled"), self.ended(hungry))
        self.end()

    def security(self):
        self.begin("security")
        about = "id -u; id -G; awk '/^(CapEff|NoNewPrivs)/ { print $2 }' /proc/self/status; touch /x 2>&1"
        limited = self.container("limited", ["sleep", "1000"], {
            "user": {"value": 1000}, "groups": [7], "read_only": True, "no_new_privs": True, "capabilities": {"drop": ["ALL"]},
        })
        wanted = "1000\n0 7\n0000000000000000\n1\ntouch: /x: Read-only file system\n"
        self.check("user, groups, capabilities, read-only root", wanted, self.exec(limited, "sh", "-c", about)[0])
        given = self.container(
            "given", ["sleep", "1000"], working_dir="/tmp", envs=[{"key": "A", "value": "b c"}],
            mounts=[{"container_path": "/logs", "host_path": self.logs, "readonly": True}],
        )
        told = self.exec(given, "sh", "-c", 'echo "$A"; pwd; touch /logs/x 2>&1')[0]
        self.check("environment, directory, a read-only volume", "b c\n/tmp\ntouch: /logs/x: Read-only file system\n", told)
        self.end()

    def namespaces(self):
        ipc = ["readlink", "/proc/self/ns/ipc"]
        self.begin("shared", pid=POD)
        pair = [self.container(name, ["sleep", "1000"]) for name in ("one", "two")]
        self.check("containers of a pod share its IPC", 1, len({self.exec(c, *ipc)[0] for c in pair}))
        self.check("and its processes, if they are to", "3\n", self.exec(pair[0], "sh", "-c", "ps -o args | grep -c '^sleep 1000'")[0])
        self.end()
        self.begin("own", pid=CONTAINER)
        pair = [self.container(name, ["sleep", "1000"]) for name in ("one", "two")]
        self.check("otherwise each has its own", "1\n", self.exec(pair[0], "sh", "-c", "ps -o args | grep -c '^sleep 1000'")[0])
        self.check("but not the host's IPC", lambda own: own != os.readlink("/proc/self/ns/ipc") + "\n", self.exec(pair[0], *ipc)[0])
        self.end()


def main():
    socket, handler, logs = sys.argv[1:]
    cases = Cases(Engine(socket), handler, logs)
    groups = [cases.common] if cases.wasm else [cases.common, cases.processes, cases.security, cases.namespaces]
    for group in groups:
        try:
            group()
        except grpc.RpcError as e:
            cases.check(group.__name__, "no error", f"{e.code().name}: {e.details()}")
    print(f"{cases.counts['ok']} passed, {cases.counts['FAIL']} failed")


if __name__ == "__main__":
    main()
