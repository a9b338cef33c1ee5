#!/bin/bash
# Runs crun's own tests (tests/test_*.py of a checkout of its repository) with any runtime.
#
#   tests/peers/crun-python.sh CHECKOUT [RUNTIME] [test_x.py...]
#
# RUNTIME is the hull of this tree's release build unless named. As root. Settings:
#   VIEW=host|v1|v2   what the tests see at /sys/fs/cgroup: as it is, v1 hierarchies alone (default on a hybrid host,
#                     which crun refuses), or one v2 hierarchy (default elsewhere, if the host has nothing but v2)
#   RUN_TESTS="a b"   only these cases
#   PYTHON=FILE       Python 3
#   RESULTS=FILE      a line for each case: file, pass|fail|skip, case
#   LOG=FILE          all that the tests say
#
# Prints pass, fail and skip for each file and the names of the cases that failed; fails if one did.
set -euo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/../.." && pwd)
checkout=$(realpath "$1")
shift
if [ $# -gt 0 ] && [[ $1 != test_*.py ]]; then
    runtime=$(realpath "$(command -v "$1")")
    shift
else
    runtime=$(ls "$here"/target/*/release/hull)
fi

if [ -z "${VIEW:-}" ]; then
    VIEW=host
    if [ -d /sys/fs/cgroup/unified ]; then VIEW=v1; fi
fi
# A private mount namespace has the view, a private network namespace a loopback of its own, and a PID namespace ends
# whatever the tests leave running (one case also reads /proc/1/ns). Mounts are shared, as systemd makes them.
if [ -z "${CRUN_PYTHON_INSIDE:-}" ]; then
    files=("$@")
    case $VIEW in
        host) prepare=: ;;
        v1) prepare='! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified' ;;
        v2) prepare='umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup' ;;
        *) echo "VIEW is host, v1 or v2, not $VIEW" >&2; exit 2 ;;
    esac
    export VIEW CRUN_PYTHON_INSIDE=1
    # shellcheck disable=SC2016  # the inner shell's own
    exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private sh -ec "$prepare"'; mount --make-rshared /; ip link set lo up; exec "$@"' sh \
        bash "$0" "$checkout" "$runtime" ${files[@]+"${files[@]}"}
fi

work=$(mktemp -d /tmp/crun-python.XXXXXX)
chmod 755 "$work" # containers in user namespaces walk through it
# The suite leaves these groups behind, after which containers of the name test fail, and one that is frozen.
clean() {
    if [ -d /sys/fs/cgroup/freezer/frozen ]; then
        echo THAWED >/sys/fs/cgroup/freezer/frozen/freezer.state
        for _ in 1 2 3 4 5; do
            rmdir /sys/fs/cgroup/freezer/frozen 2>/dev/null && break
            sleep 0.2
        done
    fi
    find /sys/fs/cgroup -depth -type d -path '*/test/deeply*' -exec rmdir {} + 2>/dev/null || true
    find /sys/fs/cgroup -maxdepth 3 -type d -name test -exec rmdir {} + 2>/dev/null || true
    cd /
    rm -rf "$work"
}
trap clean EXIT

# The process that runs in most containers. It includes a config.h that only crun's build makes.
mkdir "$work/include"
: >"$work/include/config.h"
gcc -static -O1 -w -I "$work/include" -DHAVE_SECCOMP -o "$work/init" "$checkout/tests/init.c" -lseccomp

if [ $# -eq 0 ]; then
    cd "$checkout/tests"
    set -- test_*.py
fi
# Of Python's libmount, which Debian 12 does not have, the tests use this much.
mkdir "$work/python"
cat >"$work/python/libmount.py" <<'PYTHON'
class Table:
    def __init__(self, path):
        with open(path) as lines:
            self.mounts = [Mount(line.split()) for line in lines if " - " in line]

    def find_target(self, target):
        return next((m for m in reversed(self.mounts) if m.target == target), None)


class Mount:
    def __init__(self, fields):
        self.target = fields[4]
        self.vfs_options = fields[5]
        self.fs_options = fields[fields.index("-") + 3]
PYTHON
python=${PYTHON:-python3}
export PYTHONPATH=$work/python
"$python" -c 'import os; os.setns' 2>/dev/null ||
    echo "note: $python is older than 3.12, without which the case net-devices fails; PYTHON=... names another"

# The tests of terminals want one as their standard input, on which nothing is ever typed.
mkfifo "$work/idle"
exec 7<>"$work/idle"

cd "$work"
results=${RESULTS:-$work/results}
log=${LOG:-$work/log}
: >"$results"
: >"$log"
# Under crun's name, which one case asks for.
ln -s "$runtime" "$work/crun"
export OCI_RUNTIME=$work/crun INIT=$work/init PYTHONDONTWRITEBYTECODE=1
printf '%-28s %5s %5s %5s\n' "$VIEW" pass fail skip
for file in "$@"; do
    echo "== $file" >>"$log"
    status=0
    timeout -k 10 "${TIMEOUT:-300}" script -qefc "exec $python $checkout/tests/$file" /dev/null <&7 7<&- |
        tr -d '\r' >"$work/tap" || status=$?
    cat "$work/tap" >>"$log"
    awk -v OFS='\t' -v file="$file" '
        /^ok .*#SKIP/ { print file, "skip", $4; next }
        /^ok /        { print file, "pass", $4 }
        /^not ok /    { print file, "fail", $5 }' "$work/tap" >"$work/now"
    # Cases that a hang or a crash kept from running are failures.
    planned=$(sed -n 's/^1\.\.//p' "$work/tap")
    ran=$(wc -l <"$work/now")
    if [ "$status" -ne 0 ] || [ "${planned:-0}" -ne "$ran" ]; then
        printf '%s\tfail\t(ended with %s after %s of %s cases)\n' "$file" "$status" "$ran" "${planned:-?}" >>"$work/now"
    fi
    cat "$work/now" >>"$results"
    awk -F'\t' -v file="$file" '{ n[$2]++ } END { printf "%-28s %5d %5d %5d\n", file, n["pass"], n["fail"], n["skip"] }' \
        "$work/now"
done
awk -F'\t' '
    { n[$2]++ } $2 == "fail" { failed = failed "  " $1 ": " $3 "\n" }
    END {
        printf "%-28s %5d %5d %5d\n", "all", n["pass"], n["fail"], n["skip"]
        if (failed) { printf "failed:\n%s", failed; exit 1 }
    }' "$results"
