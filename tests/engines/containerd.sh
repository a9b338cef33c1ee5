# containerd with its own shim, which calls hull's command line. For tests/engines/run.

containerd_cases() {
    command -v containerd >/dev/null || { skip containerd "not installed"; return; }
    [ -n "${containerd:-}" ] || start_containerd || { skip containerd "it does not start: $(tail -n 1 "$dir/containerd.log")"; return; }
    local ctr=("$dir/bin/ctr") image=docker.io/library/bb:latest
    local run=("${ctr[@]}" run --runc-binary "$runtime")
    check "containerd: import" '*\[0\]' "${ctr[@]}" images import "$dir/layout.tar"
    check "containerd: output" 'hi \[0\]' "${run[@]}" --rm $image c1 echo hi
    check "containerd: exit code" '*\[42\]' "${run[@]}" --rm $image c1 sh -c 'exit 42'
    check "containerd: missing program" '*nonexistent*no such file or directory*\[1\]' "${run[@]}" --rm $image c1 /nonexistent
    check "containerd: detached" '*\[0\]' "${run[@]}" --detach $image c2 sleep 1000
    check "containerd: exec" 'in*\[5\]' "${ctr[@]}" task exec --exec-id e1 c2 sh -c 'echo in; exit 5'
    check "containerd: processes" 'PID*[0-9]*\[0\]' "${ctr[@]}" task ps c2
    check "containerd: pause" '*\[0\]' "${ctr[@]}" task pause c2
    check "containerd: is paused" '*c2*PAUSED*\[0\]' "${ctr[@]}" task ls
    check "containerd: resume" '*\[0\]' "${ctr[@]}" task resume c2
    check "containerd: metrics" '*c2*\[0\]' "${ctr[@]}" task metrics c2
    check "containerd: kill and remove" '*137*\[0\]' "${ctr[@]}" task rm --force c2
    check "containerd: forget" '*\[0\]' "${ctr[@]}" container rm c2
}
