#!/bin/bash
# Runs runc's integration suite (tests/integration/*.bats) from a checkout of runc against a runtime; see README.md.
set -euo pipefail

usage() {
    cat <<'U'
usage: runc-bats.sh [-o TAP] [-b BASELINE] [-c VIEW] CHECKOUT [RUNTIME] [FILE.bats...]
  CHECKOUT     runc's source tree, with `make test-binaries` done; it is not changed
  RUNTIME      the program to test [the newest built hull]
  FILE.bats    only these files
  -o TAP       keep the output here [a temporary file]
  -b BASELINE  TAP of an earlier run: list what passed there and does not here, and let that decide the exit code
  -c VIEW      control groups: asis, v1 (without a v2 hierarchy beside), v2 (alone) [asis]
  -t SECONDS   the most that one file may take [600]
U
    exit "${1:-2}"
}

here=$(dirname "$(readlink -f "$0")")
tap="" baseline="" view=asis limit=600
while getopts "o:b:c:t:h" option; do
    case $option in
    o) tap=$(readlink -f "$OPTARG") ;;
    b) baseline=$(readlink -f "$OPTARG") ;;
    c) view=$OPTARG ;;
    t) limit=$OPTARG ;;
    h) usage 0 ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
checkout=$(readlink -f "$1")
shift
if [ $# -gt 0 ] && [[ $1 != *.bats ]]; then
    runtime=$(readlink -f "$1")
    shift
else
    # shellcheck disable=SC2012  # plain names
    runtime=$(ls -t "$here"/../../target/*/{release,debug}/hull "$here"/../../target/{release,debug}/hull 2>/dev/null | head -n1)
    runtime=$(readlink -f "$runtime")
fi

die() {
    echo "runc-bats.sh: $*" >&2
    exit 2
}
[ "$EUID" -eq 0 ] || die "must be run by root"
[ -x "$runtime" ] || die "no runtime: build hull first, or name one"
[ -d "$checkout/tests/integration" ] || die "$checkout is no checkout of runc"
[ -x "$checkout/tests/cmd/_bin/recvtty" ] || die "run 'make test-binaries' in $checkout first (Go and libseccomp-dev needed)"
case $view in asis | v1 | v2) ;; *) usage ;; esac
for tool in bats jq gawk script ip unshare pgrep; do
    command -v $tool >/dev/null || die "$tool is not installed (Debian: bats jq gawk bsdutils iproute2 util-linux procps)"
done

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work" # users of containers with a user namespace come through here
[ -n "$tap" ] || tap=$(mktemp --suffix=.tap)

# Images that the suite would download. Made once, and kept beside the user's other caches.
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull-peers
mkdir -p "$cache"

make_busybox() {
    local tree=$work/busybox program applet
    program=$(command -v busybox) || die "busybox is not installed (Debian: busybox-static)"
    mkdir -p "$tree"/{bin,dev,etc,home,root,tmp,usr/sbin,var/spool}
    chmod 1777 "$tree/tmp"
    cp "$(readlink -f "$program")" "$tree/bin/busybox"
    for applet in $("$program" --list); do
        [ "$applet" = busybox ] || ln "$tree/bin/busybox" "$tree/bin/$applet"
    done
    echo "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false" >"$tree/etc/passwd"
    echo "root:x:0:
daemon:x:1:
nogroup:x:65534:" >"$tree/etc/group"
    tar -C "$tree" -cf "$1" .
}

make_debian() {
    command -v debootstrap >/dev/null || die "debootstrap is not installed: it makes the suite's Debian image"
    debootstrap --variant=minbase stable "$work/debian" >"$work/debootstrap.log" 2>&1 ||
        die "debootstrap failed: $(tail -n1 "$work/debootstrap.log")"
    rm -rf "$work/debian"/var/cache/apt/archives/*.deb "$work/debian"/var/lib/apt/lists/*
    tar -C "$work/debian" -cf "$1" .
}

# Our own copy of the tests: images and mends go there.
mkdir -p "$work/tree/tests" "$work/bin" "$work/tmp"
cp -r "$checkout/tests/integration" "$work/tree/tests/"
ln -s "$checkout/tests/cmd" "$work/tree/tests/cmd"
ln -s "$checkout/go.mod" "$work/tree/go.mod"
tests=$work/tree/tests/integration
for image in busybox debian; do
    name=$image-$arch.tar.xz # whatever its compression: tar finds out
    [ -e "$tests/testdata/$name" ] && continue
    if [ ! -e "$cache/$name" ]; then
        make_$image "$cache/$name.part"
        mv "$cache/$name.part" "$cache/$name"
    fi
    ln -s "$cache/$name" "$tests/testdata/$name"
done

# Stand-ins for what a host may lack and the runtime has no part in.
stub() {
    command -v "$1" >/dev/null && return
    printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"
    chmod 755 "$work/bin/$1"
}
stub go "echo $arch" # the suite asks only for `go env GOARCH`
stub udevadm "exit 0"
# Called by this name, hull answers to it in help and version.
ln -s "$runtime" "$work/bin/runc"
unshare -n ip link add probe type dummy 2>/dev/null || sed -i 's/type dummy/type veth/' "$tests"/*.bats

if [ $# -gt 0 ]; then
    files=()
    for file; do
        [ -e "$tests/${file##*/}" ] || die "$checkout has no ${file##*/}"
        files+=("${file##*/}")
    done
else
    files=()
    for file in "$tests"/*.bats; do
        files+=("${file##*/}")
    done
fi

# The rest runs in namespaces of its own: devices, mounts and processes that a failed case leaves vanish with them.
# A terminal is needed, for `run` with a terminal takes the caller's; its input is idle, and no descriptor beside the
# standard ones may leak in.
cat >"$work/inner" <<'I'
set -u
export PATH=$work/bin:$PATH RUNC=$work/bin/runc TMPDIR=$work/tmp LC_ALL=C.UTF-8
ip link set lo up
case $view in
v1) umount /sys/fs/cgroup/unified ;;
v2) umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup ;;
esac || exit 2
mkfifo "$work/idle"
# A case that failed may leave its terminal's keeper behind, and bats waits for its output to end. No other process is
# in this namespace.
(while sleep 5; do pgrep -f bats-exec-suite >/dev/null || pkill -x recvtty; done) 2>/dev/null &
watch=$!
cd "$tests" || exit 2
for file in $list; do
    echo "# file $file"
    timeout --foreground --kill-after=10 "$limit" \
        script --quiet --return --command "bats --tap $file >$work/out 2>&1" /dev/null <>"$work/idle" >/dev/null
    [ $? -lt 124 ] || echo "not ok 0 $file: took longer than $limit s" >>"$work/out"
    cat "$work/out"
    # A case that failed may have left a frozen group, whose processes do not even die.
    for state in $(find /sys/fs/cgroup/ -path '*/runc-cgroups-integration-test/*/freezer.state' 2>/dev/null); do
        echo THAWED >"$state"
    done
    find /sys/fs/cgroup/ -depth -type d -path '*/runc-cgroups-integration-test*' -exec rmdir {} + 2>/dev/null
done
kill $watch
exit 0
I
list="${files[*]}"
export work view tests limit list
unshare --mount --net --pid --fork --mount-proc --propagation private bash "$work/inner" | tee "$tap" |
    gawk '/^# file/ { file = $3 } /^(ok|not ok) / { print file ": " $0; fflush() }'

# One line a case: result, file, name.
table() {
    gawk '
        /^# file / { file = $3 }
        match($0, /^(ok|not ok) [0-9]+ (.*)$/, m) {
            name = m[2]
            result = m[1] == "ok" ? "pass" : "fail"
            if (match(name, / # skip.*$/)) { result = "skip"; name = substr(name, 1, RSTART - 1) }
            print result "\t" file "\t" name
        }' "$1"
}
table "$tap" >"$work/table"
echo
gawk -F'\t' '
    { n[$2][$1]++; all[$1]++ }
    END {
        printf "%-28s %5s %5s %5s\n", "file", "pass", "fail", "skip"
        count = asorti(n, order)
        for (i = 1; i <= count; i++) {
            f = order[i]
            printf "%-28s %5d %5d %5d\n", f, n[f]["pass"], n[f]["fail"], n[f]["skip"]
        }
        printf "%-28s %5d %5d %5d\n", "all", all["pass"], all["fail"], all["skip"]
    }' "$work/table"
echo "output: $tap"
if [ -z "$baseline" ]; then
    ! grep -q '^fail' "$work/table"
else
    table "$baseline" >"$work/before"
    gawk -F'\t' '
        NR == FNR { before[$2 FS $3] = $1; next }
        before[$2 FS $3] == "pass" && $1 != "pass" { print "worse than the baseline: " $1 ": " $2 ": " $3; worse = 1 }
        END { exit worse }' "$work/before" "$work/table"
fi
