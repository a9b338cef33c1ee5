# Pods, by containerd's CRI plugin. For tests/engines/run.

cri_cases() {
    command -v containerd >/dev/null || { skip cri "containerd is not installed"; return; }
    /usr/bin/python3 -c 'import grpc' 2>/dev/null || { skip cri "python3-grpcio is not installed"; return; }
    [ -x "$(dirname "$runtime")/containerd-shim-hull-v1" ] || { skip cri "hull's shim is not built"; return; }
    local w=$dir/cri handler
    mkdir -p "$w/net.d"
    [ -e "$dir/layout.tar" ] || layout
    echo 'isolation = "wasm"' >"$w/wasm.toml"
    cat >"$w/c.toml" <<CONF
version = 2
root = "$w/root"
state = "$w/state"
[grpc]
  address = "$w/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/bb:latest"
  disable_apparmor = true
  # This host may not let anybody lower such a score.
  restrict_oom_score_adj = true
  cni.conf_dir = "$w/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "hull"
    runtimes.hull.runtime_type = "io.containerd.hull.v1"
    runtimes.runc.runtime_type = "io.containerd.runc.v2"
    runtimes.wasm.runtime_type = "io.containerd.hull.v1"
    runtimes.wasm.options.ConfigPath = "$w/wasm.toml"
CONF
    PATH=$(dirname "$runtime"):$PATH containerd --config "$w/c.toml" >"$w/log" 2>&1 &
    daemons+=($!)
    local ctr=(timeout -s KILL 30 ctr --address "$w/c.sock" --namespace k8s.io)
    within 30 "${ctr[@]}" version || { skip cri "containerd does not start: $(tail -n 1 "$w/log")"; return; }
    check "cri: import" '*\[0\]' "${ctr[@]}" images import "$dir/layout.tar"
    for handler in hull runc wasm; do
        case $handler in
        runc) command -v containerd-shim-runc-v2 >/dev/null || { skip "cri: with runc" "its shim is not installed"; continue; } ;;
        wasm) [ -e "$dir/image/probe.wasm" ] && [ -e "$(dirname "$runtime")/hull-wasm" ] || { skip "cri: wasm" "hull-wasm is not built, or there is no clang for it"; continue; } ;;
        esac
        mkdir -p "$w/logs/$handler"
        timeout -s KILL 120 /usr/bin/python3 tests/engines/cri.py "$w/c.sock" $handler "$w/logs/$handler" >"$w/out" 2>&1
        cat "$w/out"
        # Its last line, or none where it did not come to its end.
        read -r ok _ bad _ < <(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$w/out" || echo "0 passed, 1 failed")
        passed=$((passed + ok)) failed=$((failed + bad))
    done
}
