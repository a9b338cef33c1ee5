# Docker, by hull's command line. For tests/engines/run.

docker_cases() {
    command -v dockerd >/dev/null || { skip docker "not installed"; return; }
    printf '{"runtimes": {"tested": {"path": "%s"}}, "bridge": "none", "iptables": false}' "$runtime" >"$dir/daemon.json"
    dockerd --config-file "$dir/daemon.json" --host "unix://$dir/d.sock" --data-root "$dir/d" --exec-root "$dir/de" \
        --pidfile "$dir/d.pid" >"$dir/dockerd.log" 2>&1 &
    daemons+=($!)
    local docker=(docker --host "unix://$dir/d.sock") tries=0
    until "${docker[@]}" version >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || { skip docker "its daemon does not start: $(tail -n 1 "$dir/dockerd.log")"; return; }
        sleep 0.5
    done
    check "docker: import" '*sha256:*\[0\]' "${docker[@]}" import "$dir/image.tar" bb
    select=(--runtime tested)
    cases docker "${docker[@]}"
    check "docker: update" 'c2 \[0\]' sh -c "${docker[*]} run --detach ${select[*]} --network none --name c2 bb sleep 1000 >/dev/null &&
        ${docker[*]} update --memory 48m --memory-swap 96m c2"
    check "docker: remove by force" 'c2 \[0\]' "${docker[@]}" rm --force c2
    check "docker: privileged" 'uid=0(root)*\[0\]' "${docker[@]}" run --rm "${select[@]}" --network none --privileged bb id
}
