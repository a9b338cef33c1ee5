# Many containers under hull's shim, some at once, shims and containers killed at random: each run comes to its end, and
# nothing is left. For tests/engines/run.

soak_cases() {
    [ -x "$(dirname "$runtime")/containerd-shim-hull-v1" ] || { skip soak "hull's shim is not built"; return; }
    command -v containerd >/dev/null || { skip soak "containerd is not installed"; return; }
    [ -n "${containerd:-}" ] || start_containerd || { skip soak "containerd does not start: $(tail -n 1 "$dir/containerd.log")"; return; }
    [[ $PATH == $dir/bin:* ]] || export PATH=$dir/bin:$PATH
    export image=docker.io/library/bb:latest CONTAINERD_NAMESPACE=soak-$$
    local count=${HULL_SOAK:-20} seed=${HULL_SOAK_SEED:-$RANDOM} kind=hull w=$dir/soak number jobs=() worker
    echo "# soak: $count containers, seed $seed"
    RANDOM=$seed
    mkdir -p "$w"
    ctr images import "$dir/layout.tar" >/dev/null
    touch "$w/killed" "$w/wrong"
    for worker in 0 1 2 3; do
        (
            for ((number = worker; number < count; number += 4)); do
                soak_one "s$number"
            done
        ) &
        jobs+=($!)
    done
    soak_kills &
    local killer=$!
    wait "${jobs[@]}"
    touch "$w/over"
    wait $killer
    check "soak: runs that nobody disturbed" '# \[0\]' eval 'echo "#"; cat "$w/wrong"'
    echo "# soak: $(sort -u "$w/killed" | wc -l) disturbed"
    check "soak: some were" ' \[0\]' test -s "$w/killed"
    check "soak: no task is left" ' \[0\]' within 5 none ctr task ls -q
    ctr container ls -q | xargs -r ctr container rm
    check "soak: no container is left" ' \[0\]' ctr container ls -q
    within 5 none leftovers
    check "soak: nothing is left" ' \[0\]' leftovers
    rmdir /sys/fs/cgroup/*/"$CONTAINERD_NAMESPACE" /sys/fs/cgroup/"$CONTAINERD_NAMESPACE" 2>/dev/null
}

# One run. What it has to be is known if nobody disturbed it; that it ends, in any case.
soak_one() {
    local got began=$SECONDS
    got=$(ctr run --rm --runtime io.containerd.hull.v1 $image "$1" sh -c 'sleep 0.1; echo out; sleep 0.1; exit 3' 2>&1 </dev/null)
    got="$got $?"
    if [ $((SECONDS - began)) -ge 25 ]; then
        echo "$1 hangs: $got" >>"$w/wrong"
    elif [ "$got" != "out 3" ] && ! grep -qx "$1" "$w/killed"; then
        echo "$1: $got" >>"$w/wrong"
    fi
}

# Kills a shim or a container's process now and then.
soak_kills() {
    local line pid id
    while [ ! -e "$w/over" ]; do
        sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
        if [ $((RANDOM % 2)) = 0 ]; then
            line=$(pgrep -a -f -- "^[^ ]*containerd-shim-[a-z0-9-]* -namespace $CONTAINERD_NAMESPACE " | sort -R --random-source=<(yes $RANDOM) | head -n 1)
            pid=${line%% *} id=${line##*-id } id=${id%% *}
        else
            line=$(grep -H . /sys/fs/cgroup/*/"$CONTAINERD_NAMESPACE"/*/cgroup.procs 2>/dev/null | sort -R --random-source=<(yes $RANDOM) | head -n 1)
            pid=${line##*:} id=${line%/cgroup.procs*} id=${id##*/}
        fi
        [ -n "$pid" ] || continue
        # First, since its end may be seen at once.
        echo "$id" >>"$w/killed"
        kill -9 "$pid" 2>/dev/null
    done
}
