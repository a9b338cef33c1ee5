# Many containers under hull's shim, some at once, shims and containers killed at random: each run comes to its end, and
# nothing is left. For tests/engines/run.

soak_cases() {
    [ -x "$(dirname "$runtime")/containerd-shim-hull-v1" ] || { skip soak "hull's shim is not built"; return; }
    [[ $PATH == $dir/bin:* ]] || export PATH=$dir/bin:$PATH
    local count=${HULL_SOAK:-20} seed=${HULL_SOAK_SEED:-$RANDOM}
    RANDOM=$seed
    containerd_soak
    docker_soak
}

containerd_soak() {
    command -v containerd >/dev/null || { skip "soak: containerd" "it is not installed"; return; }
    [ -n "${containerd:-}" ] || start_containerd || { skip "soak: containerd" "it does not start: $(tail -n 1 "$dir/containerd.log")"; return; }
    export image=docker.io/library/bb:latest CONTAINERD_NAMESPACE=soak-${dir##*.}
    local kind=hull w=$dir/soak
    ctr images import "$dir/layout.tar" >/dev/null
    soak containerd "$CONTAINERD_NAMESPACE" "$CONTAINERD_NAMESPACE" by_ctr
    [ "$count" -lt 100 ] || daemon_soak
    check "soak: containerd: no task is left" ' \[0\]' within 5 none ctr task ls -q
    ctr container ls -q | xargs -r ctr container rm
    check "soak: containerd: no container is left" ' \[0\]' ctr container ls -q
    within 5 none leftovers
    check "soak: containerd: nothing is left" ' \[0\]' leftovers
    rmdir /sys/fs/cgroup/*/"$CONTAINERD_NAMESPACE" /sys/fs/cgroup/"$CONTAINERD_NAMESPACE" 2>/dev/null
}

# containerd is killed while containers begin: a shim that it had begun, and knows nothing of, ends by itself after half a minute.
daemon_soak() {
    local round number jobs
    for ((round = 0; round < count / 40; round++)); do
        jobs=()
        for number in 1 2 3 4; do
            ctr run --detach --runtime io.containerd.hull.v1 $image "k$round-$number" sleep 1000 >/dev/null 2>&1 &
            jobs+=($!)
        done
        sleep "0.$((RANDOM % 2))$((RANDOM % 10))$((RANDOM % 10))"
        kill -9 "$containerd"
        wait "$containerd" "${jobs[@]}" 2>/dev/null
        start_containerd
    done
    sleep 0.5
    check "soak: containerd killed: some had begun" ' \[0\]' eval 'ctr task ls -q | grep -q .'
    ctr task ls -q | xargs -r -n 1 ctr task rm --force 2>/dev/null
    check "soak: containerd killed: no shim is left" ' \[0\]' within 60 none shims
}

by_ctr() {
    echo "$1" >"$w/$1.id"
    ctr run --rm --runtime io.containerd.hull.v1 $image "$@"
}

docker_soak() {
    command -v dockerd >/dev/null || { skip "soak: docker" "it is not installed"; return; }
    docker_with_hulls_shim >/dev/null || { skip "soak: docker" "it does not start: $(tail -n 1 "$dir/dockerd.log")"; return; }
    local w=$dir/dsoak parent=hull-soak-${dir##*.}
    soak docker moby "$parent" by_docker
    check "soak: docker: no container is left" ' \[0\]' within 10 none "${docker[@]}" ps --all --quiet
    within 5 none docker_leftovers
    check "soak: docker: nothing is left" ' \[0\]' docker_leftovers
    rmdir /sys/fs/cgroup/*/"$parent" /sys/fs/cgroup/"$parent" 2>/dev/null
}

by_docker() {
    timeout -s KILL 30 "${docker[@]}" run --rm --network none --cgroup-parent "$parent" --cidfile "$w/$1.id" bb "${@:2}"
}

docker_leftovers() {
    docker_shims
    find /sys/fs/cgroup -mindepth 2 -path "*/$parent/*" -type d
    grep -E " $dir/(d/overlay2|d/containers|de/containerd)/" /proc/self/mountinfo
    find "$dir"/de/containerd/daemon/io.containerd.runtime.v2.task/moby "$dir"/de/runtime-runc/moby "$dir"/d/containers -mindepth 1 2>/dev/null
    find /run/containerd/s -mindepth 1
}

# soak NAME NAMESPACE CGROUP COMMAND: the command runs a container, given its name and its program, and leaves its id in a file.
# In that namespace are its shims, and below that cgroup it is.
soak() {
    local e="soak: $1" namespace=$2 cgroup=$3 number jobs=() worker killer
    echo "# $e: $count containers, seed $seed"
    mkdir -p "$w"
    touch "$w/killed" "$w/wrong"
    for worker in 0 1 2 3; do
        (
            for ((number = worker; number < count; number += 4)); do
                soak_one "$4" "s$number"
            done
        ) &
        jobs+=($!)
    done
    soak_kills &
    killer=$!
    wait "${jobs[@]}"
    touch "$w/over"
    wait $killer
    check "$e: runs that nobody disturbed" '# \[0\]' eval 'echo "#"; cat "$w/wrong"'
    echo "# $e: $(sort -u "$w/killed" | wc -l) disturbed"
    check "$e: some were" ' \[0\]' test -s "$w/killed"
}

# One run. What it has to be is known if nobody disturbed it; that it ends, in any case.
soak_one() {
    local got began=$SECONDS
    got=$("$1" "$2" sh -c 'sleep 0.1; echo out; sleep 0.1; exit 3' 2>&1 </dev/null)
    got="$got $?"
    if [ $((SECONDS - began)) -ge 25 ]; then
        echo "$2 hangs: $got" >>"$w/wrong"
    elif [ "$got" != "out 3" ] && ! grep -qx "$(cat "$w/$2.id")" "$w/killed"; then
        echo "$2: $got" >>"$w/wrong"
    fi
}

any_of() {
    sort -R --random-source=<(yes $RANDOM) | head -n 1
}

# Kills a shim or a container's process now and then.
soak_kills() {
    local line pid id
    while [ ! -e "$w/over" ]; do
        sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
        if [ $((RANDOM % 2)) = 0 ]; then
            line=$(pgrep -a -f -- "^[^ ]*containerd-shim-[a-z0-9-]* -namespace $namespace .*-address $dir/" | any_of)
            pid=${line%% *} id=${line##*-id } id=${id%% *}
        else
            line=$(grep -H . /sys/fs/cgroup/*/"$cgroup"/*/cgroup.procs 2>/dev/null | any_of)
            pid=${line##*:} id=${line%/cgroup.procs*} id=${id##*/}
        fi
        [ -n "$pid" ] || continue
        # First, since its end may be seen at once.
        echo "$id" >>"$w/killed"
        kill -9 "$pid" 2>/dev/null
    done
}
