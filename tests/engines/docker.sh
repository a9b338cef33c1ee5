# Docker, by hull's command line under containerd's shim, and by hull's own shim. For tests/engines/run.

docker_cases() {
    command -v dockerd >/dev/null || { skip docker "not installed"; return; }
    start_docker || { skip docker "its daemon does not start: $(tail -n 1 "$dir/dockerd.log")"; return; }
    check "docker: import" '*sha256:*\[0\]' "${docker[@]}" import "$dir/image.tar" bb
    select=(--runtime tested)
    cases docker "${docker[@]}"
    more_docker_cases docker containerd-shim-runc-v2
    docker_killed
    [ -x "$(dirname "$runtime")/containerd-shim-hull-v1" ] || { skip "docker with hull's shim" "it is not built"; return; }
    docker_with_hulls_shim >/dev/null || { skip "docker with hull's shim" "its daemon does not start"; return; }
    cases "docker with hull's shim" "${docker[@]}"
    more_docker_cases "docker with hull's shim" containerd-shim-hull-v1
    docker_killed
}

# This release knows no shim but containerd's own: hull's takes its name. (Others take io.containerd.hull.v1.)
docker_with_hulls_shim() {
    mkdir -p "$dir/db"
    ln -sf "$(dirname "$runtime")/containerd-shim-hull-v1" "$dir/db/containerd-shim-runc-v2"
    start_docker && "${docker[@]}" import "$dir/image.tar" bb
}

# Its containerd looks for shims on the path.
start_docker() {
    docker=(docker --host "unix://$dir/d.sock")
    printf '{"runtimes": {"tested": {"path": "%s"}}, "bridge": "none", "iptables": false, "live-restore": true}' "$runtime" >"$dir/daemon.json"
    PATH=$dir/db:$PATH dockerd --config-file "$dir/daemon.json" --host "unix://$dir/d.sock" --data-root "$dir/d" \
        --exec-root "$dir/de" --pidfile "$dir/d.pid" >>"$dir/dockerd.log" 2>&1 &
    dockerd=$!
    daemons+=($dockerd)
    within 30 "${docker[@]}" version
}

# Its containerd goes with it; one that nobody reaps would be taken for one that runs.
docker_killed() {
    kill -9 $dockerd
    wait $dockerd 2>/dev/null
    rm -f "$dir/de/containerd/containerd.pid"
}

inspect() {
    "${docker[@]}" inspect --format "{{.State.$1}}" "$2"
}

# What its shims' processes are, a line each.
docker_shims() {
    pgrep -f -- "^[^ ]*containerd-shim-[a-z0-9-]* -namespace moby .*-address $dir/"
}

shims_program() {
    readlink "/proc/$(docker_shims | tail -n 1)/exe"
}

# more_docker_cases NAME SHIM: with that one's program.
more_docker_cases() {
    local e=$1
    local run=("${docker[@]}" run "${select[@]}" --network none)
    check "$e: update" 'c2 \[0\]' sh -c "${run[*]} --detach --name c2 --ipc shareable --memory 64m bb sleep 1000 >/dev/null &&
        ${docker[*]} update --memory 48m --memory-swap 96m c2"
    check "$e: what update did" '*/ 48MiB \[0\]' "${docker[@]}" stats --no-stream --format '{{.MemUsage}}' c2
    check "$e: another in its namespaces" '1 \[0\]' "${run[@]}" --rm --pid container:c2 --ipc container:c2 bb sh -c 'ps -o args | grep -c "^sleep 1000$"'
    check "$e: exec detached" ' \[0\]' "${docker[@]}" exec --detach c2 sh -c 'echo up >/tmp/d; sleep 1000'
    check "$e: it runs" ' \[0\]' within 5 "${docker[@]}" exec c2 grep -q up /tmp/d
    check "$e: exec's input" 'typed \[0\]' sh -c "echo typed | ${docker[*]} exec --interactive c2 cat"
    check "$e: exec's terminal" '*/dev/pts/0*\[3\]' script -qec "${docker[*]} exec --interactive --tty c2 sh -c 'tty; exit 3'" /dev/null
    check "$e: remove by force" 'c2 \[0\]' "${docker[@]}" rm --force c2
    check "$e: privileged" 'uid=0(root)*\[0\]' "${run[@]}" --rm --privileged bb id
    check "$e: restart policy" '* \[0\]' "${run[@]}" --detach --name c3 --restart on-failure:2 bb sh -c 'echo began; exit 7'
    check "$e: it began three times" ' \[0\]' within 10 says 3 eval '"${docker[@]}" logs c3 | grep -c began'
    check "$e: wait" '7 \[0\]' "${docker[@]}" wait c3
    check "$e: killed for want of memory" ' \[137\]' "${run[@]}" --name c4 --memory 16m --memory-swap 16m bb tail /dev/zero
    check "$e: and that is told" ' \[0\]' within 2 says true inspect OOMKilled c4
    check "$e: health" '* \[0\]' "${run[@]}" --detach --name c5 --health-cmd 'test -e /tmp' --health-interval 1s bb sleep 1000
    check "$e: is healthy" ' \[0\]' within 10 says healthy inspect Health.Status c5
    check "$e: kill" 'c5 \[0\]' "${docker[@]}" kill c5
    check "$e: exit code" '137 \[0\]' "${docker[@]}" wait c5
    check "$e: start again" 'c5 \[0\]' "${docker[@]}" start c5
    check "$e: restart" 'c5 \[0\]' "${docker[@]}" restart -t 0 c5
    docker_killed
    start_docker
    check "$e: its daemon killed: runs" 'running \[0\]' inspect Status c5
    check "$e: its daemon killed: exec" 'in \[0\]' "${docker[@]}" exec c5 echo in
    check "$e: its shim" "*/$2 \\[0\\]" shims_program
    check "$e: remove all" '* \[0\]' "${docker[@]}" rm --force c3 c4 c5
    check "$e: no shim is left" ' \[0\]' within 2 none docker_shims
}
