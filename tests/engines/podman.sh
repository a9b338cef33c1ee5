# Podman, by hull's command line. For tests/engines/run.

podman_cases() {
    command -v podman >/dev/null || { skip podman "not installed"; return; }
    cat >"$dir/containers.conf" <<CONF
[containers]
# The engine's own defaults are above the hard limits of a host without CAP_SYS_RESOURCE.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["tested"]
runtime_supports_nocgroup = ["tested"]
[engine.runtimes]
tested = ["$runtime"]
CONF
    export CONTAINERS_CONF=$dir/containers.conf
    local podman=(podman --runtime tested --root "$dir/p" --runroot "$dir/pr" --tmpdir "$dir/pt" --storage-driver overlay)
    check "podman: import" '*sha256:*\[0\]' "${podman[@]}" import "$dir/image.tar" bb
    select=()
    cases podman "${podman[@]}"
    check "podman: user namespace" '*0*100000*1000 \[0\]' \
        "${podman[@]}" run --rm --network none --uidmap 0:100000:1000 bb cat /proc/self/uid_map
    check "podman: without cgroups" 'hi \[0\]' "${podman[@]}" run --rm --network none --cgroups disabled bb echo hi
    check "podman: a container's namespaces" '* \[0\]' "${podman[@]}" run --detach --name host --network none bb sleep 1000
    check "podman: joined" '1 \[0\]' "${podman[@]}" run --rm --network container:host --pid container:host --ipc container:host bb \
        sh -c 'ps -o args | grep -c "^sleep 1000$"'
    check "podman: remove by force" '* \[0\]' "${podman[@]}" rm --force --time 0 host
    if [ -e "$dir/image/probe.wasm" ] && [ -e "$(dirname "$runtime")/hull-wasm" ]; then
        local wasm=("${podman[@]}" run --rm --network none --annotation run.oci.handler=wasm)
        check "podman: a Wasm module" '/probe.wasm*args*a b \[0\]' "${wasm[@]}" bb /probe.wasm args 'a b'
        check "podman: its exit code" ' \[42\]' "${wasm[@]}" bb /probe.wasm exit 42
        check "podman: its volume" 'FROM bb* \[0\]' "${wasm[@]}" --volume "$dir/Dockerfile:/f:ro" bb /probe.wasm cat /f
        check "podman: a missing module" '*nonexistent*\[127\]' "${wasm[@]}" bb nonexistent
        check "podman: a module detached" '* \[0\]' "${wasm[@]}" --detach --name w1 bb /probe.wasm spin
        check "podman: exec of a module" '/probe.wasm*args \[0\]' "${podman[@]}" exec w1 /probe.wasm args
        check "podman: stop of a module that only counts" 'w1 \[0\]' "${podman[@]}" stop -t 20 w1
        check "podman: a component that serves" '* \[0\]' "${wasm[@]}" --detach --name w2 bb /http.wat
        check "podman: a request to it, from its network" 'root \[0\]' "${podman[@]}" run --rm --network container:w2 bb \
            sh -c 'until wget -q -O - http://127.0.0.1:8080/; do sleep 0.2; done'
        check "podman: its stop" 'w2 \[0\]' "${podman[@]}" stop -t 20 w2
    else
        skip "podman: a Wasm module" "hull-wasm is not built, or there is no clang for it"
    fi
    check "podman: build" '*[0-9a-f] \[0\]' "${podman[@]}" build --quiet --network none --tag built "$dir"
    check "podman: run what was built" 'built \[0\]' "${podman[@]}" run --rm --network none built cat /built
}
