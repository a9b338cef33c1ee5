# What the engines' scripts share. For tests/engines/run.

clean_up() {
    [ ${#daemons[@]} -eq 0 ] || kill "${daemons[@]}" 2>/dev/null
    wait 2>/dev/null
    # What an engine left mounted below the directory would be emptied with it.
    awk -v d="$dir/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n 1 umount -l
    rm -rf --one-file-system "$dir"
}

# check NAME WANTED COMMAND...: the command's output, exit status appended, has to match the pattern. A function sees to it
# itself that it ends.
check() {
    local name=$1 wanted=$2 got
    shift 2
    # shellcheck disable=SC2053  # a pattern is meant
    if said "$@"; [[ $got == $wanted ]]; then
        passed=$((passed + 1)) && echo "ok     $name"
    # Who loses output at times is asked twice, where that changes nothing.
    elif [ -n "${twice:-}" ] && said "$@" && [[ $got == $wanted ]]; then
        passed=$((passed + 1)) && echo "ok     $name"
    else
        failed=$((failed + 1)) && printf 'FAIL   %s: want %q, got %q\n' "$name" "$wanted" "$got"
    fi
}

said() {
    if [ "$(type -t "$1")" != file ]; then
        got=$("$@" 2>&1 </dev/null)
    else
        got=$(timeout -s KILL 60 "$@" 2>&1 </dev/null)
    fi
    got="$got [$?]"
}

# within SECONDS COMMAND...: the command, again and again, until it succeeds.
within() {
    local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "${EPOCHREALTIME/[.,]/}" -lt $end ] || return 1
        sleep 0.05
    done
}

# says OUTPUT COMMAND...: that is its output.
says() {
    [ "$("${@:2}")" = "$1" ]
}

# none COMMAND...: it has no output.
none() {
    ! "$@" | grep -q .
}

skip() {
    skipped=$((skipped + 1)) && echo "skip   $1: $2"
}

image() {
    local root=$dir/image
    mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    clang --target=wasm32-wasi -O1 -o "$root/probe.wasm" tests/blackbox/wasm/probe.c 2>/dev/null
    cp tests/blackbox/wasm/http.wat "$root/"
    tar -C "$root" -cf "$dir/image.tar" .
    printf 'FROM bb\nRUN echo built >/built\n' >"$dir/Dockerfile"
}

# An image as an OCI layout, which is all that ctr imports.
layout() {
    local blobs=$dir/layout/blobs/sha256 layer config manifest
    mkdir -p "$blobs"
    add() { local d; d=$(sha256sum <"$1"); d=${d%% *}; mv "$1" "$blobs/$d"; echo "$d"; }
    size() { stat -c %s "$blobs/$1"; }
    cp "$dir/image.tar" "$dir/layer" && layer=$(add "$dir/layer")
    echo '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sleep","1000000"]},"rootfs":{"type":"layers","diff_ids":["sha256:'"$layer"'"]}}' \
        >"$dir/c" && config=$(add "$dir/c")
    local type=application/vnd.oci.image
    echo '{"schemaVersion":2,"mediaType":"'$type'.manifest.v1+json",
        "config":{"mediaType":"'$type'.config.v1+json","digest":"sha256:'"$config"'","size":'"$(size "$config")"'},
        "layers":[{"mediaType":"'$type'.layer.v1.tar","digest":"sha256:'"$layer"'","size":'"$(size "$layer")"'}]}' \
        >"$dir/m" && manifest=$(add "$dir/m")
    echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/layout/oci-layout"
    echo '{"schemaVersion":2,"manifests":[{"mediaType":"'$type'.manifest.v1+json","digest":"sha256:'"$manifest"'",
        "size":'"$(size "$manifest")"',"annotations":{"io.containerd.image.name":"docker.io/library/bb:latest"}}]}' >"$dir/layout/index.json"
    tar -C "$dir/layout" -cf "$dir/layout.tar" .
}

# What every engine's command line can say in one way: $1 is the engine's name, the rest how it is called.
cases() {
    local engine=$1
    shift
    local run=("$@" run --rm "${select[@]}" --network none)
    check "$engine: output" 'hi \[0\]' "${run[@]}" bb echo hi
    check "$engine: exit code" ' \[42\]' "${run[@]}" bb sh -c 'exit 42'
    check "$engine: missing program" '*nonexistent*\[127\]' "${run[@]}" bb nonexistent
    check "$engine: not executable" '*permission denied*\[126\]' "${run[@]}" bb /etc/passwd
    check "$engine: hostname, user, limits" 'box 1000 77 \[0\]' \
        "${run[@]}" --hostname box --user 1000 --ulimit nofile=77:77 --ulimit nproc=4096:4096 bb sh -c 'echo "$(hostname) $(id -u) $(ulimit -n)"'
    check "$engine: read-only root, tmpfs" 'touch: /x: Read-only file system written \[0\]' \
        "${run[@]}" --read-only --tmpfs /t bb sh -c 'touch /x 2>&1 | tr "\n" " "; touch /t/x && echo written'
    check "$engine: no capabilities, no new privileges, filter" '0000000000000000 1 2 \[0\]' \
        "${run[@]}" --cap-drop all --security-opt no-new-privileges bb \
        sh -c 'echo $(awk "/CapEff|NoNewPrivs|Seccomp:/ { print \$2 }" /proc/self/status)'
    check "$engine: a volume, read-only" 'bb touch: /v/x: Read-only file system \[1\]' \
        "${run[@]}" --volume "$dir/Dockerfile:/f:ro" --volume "$dir:/v:ro" bb sh -c 'sed -n "s/FROM //p" /f | tr "\n" " "; touch /v/x 2>&1'
    check "$engine: init" '*init*-- sh* \[0\]' "${run[@]}" --init bb sh -c 'tr "\0" " " </proc/1/cmdline'
    check "$engine: directory, variable, entry point, groups" '/tmp b 0 7* \[0\]' \
        "${run[@]}" --workdir /tmp --env A=b --entrypoint sh --group-add 7 bb -c 'echo "$(pwd) $A $(id -G)"'
    check "$engine: a tmpfs and shared memory of a size" '1024 5120 \[0\]' "${run[@]}" --mount type=tmpfs,destination=/m,tmpfs-size=1048576 \
        --shm-size 5m bb sh -c 'echo $(df -k /m /dev/shm | awk "NR > 1 { print \$2 }")'
    check "$engine: a sysctl of its network" '1 \[0\]' "${run[@]}" --sysctl net.ipv4.ip_forward=1 bb cat /proc/sys/net/ipv4/ip_forward
    check "$engine: one capability" '0000000002000000 \[0\]' "${run[@]}" --cap-drop all --cap-add SYS_TIME bb \
        awk '/CapEff/ { print $2 }' /proc/self/status
    check "$engine: without a filter" '0 \[0\]' "${run[@]}" --security-opt seccomp=unconfined bb awk '/Seccomp:/ { print $2 }' /proc/self/status
    check "$engine: one CPU" '0 \[0\]' "${run[@]}" --cpuset-cpus 0 bb awk '/Cpus_allowed_list/ { print $2 }' /proc/self/status
    check "$engine: CPU time, processes" '*50000 20 \[0\]' "${run[@]}" --cpus 0.5 --pids-limit 20 bb \
        sh -c 'cd /sys/fs/cgroup; echo $(cut -d " " -f 1 cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; cat pids/pids.max pids.max 2>/dev/null)'
    check "$engine: a private bind of a directory" 'made \[0\]' \
        "${run[@]}" --mount "type=bind,source=$dir/image/tmp,destination=/b,bind-propagation=rprivate" bb sh -c 'echo made >/b/by && cat /b/by'
    check "$engine: a device" 'crw-rw-rw-* 1,* 3 * /dev/mine \[0\]' "${run[@]}" --device /dev/null:/dev/mine bb ls -l /dev/mine
    check "$engine: detached" '* \[0\]' "$@" run --detach "${select[@]}" --network none --name c1 --memory 64m --pids-limit 40 \
        bb sh -c 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done'
    check "$engine: exec" 'in \[5\]' "$@" exec c1 sh -c 'echo in; exit 5'
    check "$engine: exec as another, elsewhere" '1000 /tmp b \[0\]' "$@" exec --user 1000 --workdir /tmp --env A=b c1 \
        sh -c 'echo "$(id -u) $(pwd) $A"'
    check "$engine: exec of a missing program" '*nonexistent*\[12[67]\]' "$@" exec c1 nonexistent
    check "$engine: top" '*sleep*\[0\]' "$@" top c1
    check "$engine: stats" '*c1*\[0\]' "$@" stats --no-stream c1
    check "$engine: pause" '* \[0\]' "$@" pause c1
    check "$engine: is paused" 'paused \[0\]' "$@" inspect --format '{{.State.Status}}' c1
    check "$engine: unpause" '* \[0\]' "$@" unpause c1
    check "$engine: copy out" 'root:x:0:0:root:/root:/bin/sh \[0\]' sh -c "$* cp c1:/etc/passwd - | tar -xO"
    check "$engine: stop" 'c1 \[0\]' "$@" stop -t 20 c1
    check "$engine: exit code after the signal" '9 \[0\]' "$@" inspect --format '{{.State.ExitCode}}' c1
    check "$engine: logs" 'up \[0\]' "$@" logs c1
    check "$engine: remove" 'c1 \[0\]' "$@" rm c1
    check "$engine: terminal" '*/dev/pts/0*24 80*\[0\]' script -qec \
        "stty rows 24 cols 80; ${run[*]} --interactive --tty bb sh -c 'tty; sleep 0.5; stty size'" /dev/null
    check "$engine: standard input" 'typed \[0\]' sh -c "echo typed | ${run[*]} --interactive bb cat"
}

# containerd of its own, `ctr` for it as "$dir/bin/ctr", whose namespace is a variable's.
start_containerd() {
    if [ ! -e "$dir/c.toml" ]; then
        layout
        mkdir -p "$dir/bin"
        printf 'version = 2\nroot = "%s/cr"\nstate = "%s/cs"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s/c.sock"\n' \
            "$dir" "$dir" "$dir" >"$dir/c.toml"
        # It takes SIGTERM for its container's. In the foreground, since it may have a terminal.
        printf '#!/bin/sh\nexec timeout --foreground -s KILL 30 /usr/bin/ctr --address %s/c.sock "$@"\n' "$dir" >"$dir/bin/ctr"
        chmod +x "$dir/bin/ctr"
    fi
    # It looks for shims on its path.
    PATH=$(dirname "$runtime"):$PATH containerd --config "$dir/c.toml" >>"$dir/containerd.log" 2>&1 &
    containerd=$!
    daemons+=($containerd)
    within 30 "$dir/bin/ctr" version
}
