# hull's own shim under containerd, by ctr; the same cases with containerd's shim and runc show that they tell the truth.
# For tests/engines/run.

# Where the shim that gets no container serves.
unused_at=

shim_cases() {
    local shim
    shim=$(dirname "$runtime")/containerd-shim-hull-v1
    command -v containerd >/dev/null || { skip shim "containerd is not installed"; return; }
    [ -n "${containerd:-}" ] || start_containerd || { skip shim "containerd does not start: $(tail -n 1 "$dir/containerd.log")"; return; }
    export PATH=$dir/bin:$PATH image=docker.io/library/bb:latest dir
    if [ -x "$shim" ]; then
        unused_begins "$shim"
        cases_of_type hull io.containerd.hull.v1
    else
        skip shim "$shim is not built"
    fi
    if command -v containerd-shim-runc-v2 >/dev/null; then
        cases_of_type runc io.containerd.runc.v2
    else
        skip "shim: with runc" "its shim is not installed"
    fi
    [ -z "$unused_at" ] || unused_ends
}

# What containerd does before it asks for a container; then it is killed, say.
unused_begins() {
    mkdir -p "$dir/unused" && echo '{}' >"$dir/unused/config.json"
    unused_at=$(cd "$dir/unused" && "$1" -namespace unused -address "$dir/c.sock" -id unused start </dev/null)
    check "shim hull: one without a container" ' \[0\]' test -S "${unused_at#unix://}"
}

unused_ends() {
    check "shim hull: one without a container ends" ' \[0\]' within 50 none pgrep -f -- "-namespace unused "
    check "shim hull: its socket is gone" ' \[1\]' test -e "${unused_at#unix://}"
}

# Cases for one kind of shim, in a namespace of containerd's that has its name.
cases_of_type() {
    local kind=$1 type=$2
    local e="shim $kind"
    export CONTAINERD_NAMESPACE=$kind-${dir##*.}
    local run=(ctr run --runtime "$type")
    mkdir -p "$dir/$kind" && chmod 777 "$dir/$kind"
    local w=$dir/$kind
    check "$e: import" '*\[0\]' ctr images import "$dir/layout.tar"
    ctr events >"$w/events" 2>&1 &
    local events=$!
    unread_begins
    simple_cases
    task_cases
    exec_cases
    stream_cases
    pod_cases
    client_cases
    event_cases
    unread_ends
    restart_cases
    kill $events 2>/dev/null
    wait $events 2>/dev/null
    nothing_left_cases
}

# Processes of this namespace's shims: their ids.
shims() {
    pgrep -f -- "^[^ ]*containerd-shim-[a-z0-9-]* -namespace $CONTAINERD_NAMESPACE "
}

# shim_of CONTAINER: the process id of the one that began for it.
shim_of() {
    pgrep -f -- "^[^ ]*containerd-shim-[a-z0-9-]* -namespace $CONTAINERD_NAMESPACE .*-id $1 "
}

# ours REASON check...: a case that only hull's shim passes.
ours() {
    if [ "$kind" = hull ]; then "${@:2}"; else skip "${3:-}" "$1"; fi
}

# What a task is: its state, or "absent".
state() {
    local line
    line=$(ctr task ls | awk -v id="$1" '$1 == id { print $3 }')
    echo "${line:-absent}"
}

is() {
    [ "$(state "$1")" = "$2" ]
}

forget() {
    ctr task rm --force "$1" >/dev/null 2>&1
    ctr container rm "$1" >/dev/null 2>&1
}

simple_cases() {
    local twice=
    [ "$kind" = hull ] || twice=1
    check "$e: output" 'hi \[0\]' "${run[@]}" --rm $image a echo hi
    check "$e: exit code" ' \[42\]' "${run[@]}" --rm $image a sh -c 'exit 42'
    check "$e: missing program" '*nonexistent*no such file or directory*\[1\]' "${run[@]}" --rm $image a /nonexistent
    check "$e: missing program, looked for" '*nonexistent*\[1\]' "${run[@]}" --rm $image a nonexistent
    check "$e: not executable" '*permission denied*\[1\]' "${run[@]}" --rm $image a /etc/passwd
    check "$e: the next one of that name" 'hi \[0\]' "${run[@]}" --rm $image a echo hi
    check "$e: directory and environment" '/tmp b \[0\]' "${run[@]}" --rm --cwd /tmp --env A=b $image a sh -c 'echo $(pwd) $A'
    check "$e: read-only root" 'touch: /x: Read-only file system \[1\]' "${run[@]}" --rm --read-only $image a touch /x
    check "$e: a volume" 'FROM bb* \[0\]' \
        "${run[@]}" --rm --mount "type=bind,src=$dir/Dockerfile,dst=/f,options=rbind:ro" $image a sh -c 'touch /f 2>/dev/null || cat /f'
    check "$e: filter, no new privileges" '1 2 \[0\]' "${run[@]}" --rm --seccomp $image a \
        sh -c 'echo $(awk "/NoNewPrivs|Seccomp:/ { print \$2 }" /proc/self/status)'
    check "$e: privileged" '* \[0\]' "${run[@]}" --rm --privileged $image a test -e /dev/zero
    check "$e: user namespace" '*0*100000*1000 \[0\]' "${run[@]}" --rm --uidmap 0:100000:1000 --gidmap 0:100000:1000 $image a cat /proc/self/uid_map
    mkdir -p "$w/root" && cp -a "$dir/image/." "$w/root"
    check "$e: a root of its own" 'hi \[0\]' "${run[@]}" --rm --rootfs "$w/root" a /bin/echo hi
    check "$e: terminal" '*/dev/pts/0*24 80*\[0\]' script -qec \
        "stty rows 24 cols 80; ${run[*]} --rm --tty $image a sh -c 'tty; sleep 0.3; stty size'" /dev/null
    check "$e: exit code of one with a terminal" '*last*\[7\]' script -qec "${run[*]} --rm --tty $image a sh -c 'echo last; exit 7'" /dev/null
    check "$e: no streams" ' \[3\]' "${run[@]}" --rm --null-io $image a sh -c 'echo nothing; exit 3'
}

streams_apart() {
    "${run[@]}" --rm $image a sh -c 'echo out; echo err >&2' >"$w/out" 2>"$w/err" && echo "$(cat "$w/out"), $(cat "$w/err")"
}

large() {
    "${run[@]}" --rm $image a sh -c 'head -c 5000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait' >"$w/out" 2>"$w/err"
    echo "$? $(stat -c %s "$w/out") $(stat -c %s "$w/err")"
}

typed() {
    { echo typed; sleep 0.5; } | "${run[@]}" --rm $image a head -n 1
}

typed_large() {
    { head -c 1000000 /dev/zero; sleep 0.5; } | "${run[@]}" --rm $image a sh -c 'head -c 1000000 | wc -c'
}

# unread_input BYTES: of which the container takes none.
unread_input() {
    head -c "$1" /dev/zero | "${run[@]}" --rm $image a sh -c 'sleep 0.2; exit 6'
}

# A logger keeps what it reads. Descriptor 5 says that it is ready: its children may not have it.
loggers() {
    cat >"$w/logger" <<'LOGGER'
#!/bin/sh
echo "$CONTAINER_ID $1 $2" >"$2/about"
exec 5>&-
cat <&3 >"$2/out" &
cat <&4 >"$2/err"
wait
echo end >>"$2/about"
LOGGER
    chmod +x "$w/logger"
}

logged() {
    "${run[@]}" --detach --log-uri "$1" $image a sh -c 'echo out; echo err >&2; exit 4'
    within 5 is a STOPPED
    forget a
}

logged_by_program() {
    logged "binary://$w/logger?dir=$w"
    within 5 grep -qs err "$w/err"
    cat "$w/about" "$w/out" "$w/err" | paste -s -d ' '
}

# A process of the host's PID namespace outlives the first of the container, and would keep its output open.
left_child() {
    "${run[@]}" --rm --with-ns "pid:/proc/$containerd/ns/pid" $image a sh -c 'sleep 1234.5 & echo $!' >"$w/out"
    echo "$?"
    within 2 eval '! kill -0 "$(cat "$w/out")" 2>/dev/null' && echo gone
}

stream_cases() {
    check "$e: output and errors apart" 'out, err \[0\]' streams_apart
    check "$e: much on both" '0 5000000 3000000 \[0\]' large
    check "$e: input" 'typed \[0\]' typed
    check "$e: much input" '1000000 \[0\]' typed_large
    check "$e: into a file" ' \[0\]' logged "file://$w/sub/file.log"
    ours "one of two streams is missing at times" check "$e: what is in the file" $'err\nout \\[0\\]' sort "$w/sub/file.log"
    check "$e: input that it doesn't read" ' \[6\]' unread_input 1000000
    loggers
    check "$e: to a program" "a dir $w *out err \\[0\\]" logged_by_program
    ours "it ends the program with a signal" check "$e: that program's own end" ' \[0\]' within 5 grep -q end "$w/about"
    check "$e: to a program that is not there" '*/nonexistent*\[1\]' "${run[@]}" --rm --log-uri binary:///nonexistent $image a echo hi
    check "$e: a child that stays behind" $'0\ngone \\[0\\]' left_child
}

task_cases() {
    check "$e: detached" ' \[0\]' "${run[@]}" --detach --memory-limit 67108864 --log-uri "file://$w/b.log" $image b \
        sh -c 'trap "echo usr1" USR1; trap "echo usr2; exit 9" USR2; trap "echo term" TERM; echo up; while :; do sleep 0.05; done'
    check "$e: runs" 'RUNNING \[0\]' state b
    check "$e: its shim" "*/containerd-shim-$kind-v[12] \\[0\\]" eval 'readlink "/proc/$(shim_of b)/exe"'
    check "$e: its first process" '[1-9]* \[0\]' eval "ctr task ls | awk '\$1 == \"b\" { print \$2 }'"
    check "$e: it is up" ' \[0\]' within 5 grep -q up "$w/b.log"
    check "$e: processes" 'PID*[0-9]*\[0\]' ctr task ps b
    check "$e: metrics" '*memory*pids*\[0\]' ctr task metrics b
    check "$e: metrics have the limit" '*67108864*\[0\]' ctr task metrics --format json b
    check "$e: pause" ' \[0\]' ctr task pause b
    check "$e: is paused" 'PAUSED \[0\]' state b
    check "$e: exec in one that is paused" '*paused*\[1\]' ctr task exec --exec-id p b true
    check "$e: resume" ' \[0\]' ctr task resume b
    check "$e: runs again" 'RUNNING \[0\]' state b
    check "$e: another of that name" '*exists*\[1\]' "${run[@]}" --detach $image b true
    check "$e: started again" '*\[1\]' ctr task start b
    check "$e: delete while it runs" '*b*\[1\]' ctr task rm b
    check "$e: signal by name" ' \[0\]' ctr task kill -s SIGUSR1 b
    check "$e: it came" ' \[0\]' within 5 grep -q usr1 "$w/b.log"
    check "$e: the usual signal" ' \[0\]' ctr task kill b
    check "$e: it came too" ' \[0\]' within 5 grep -q term "$w/b.log"
    check "$e: signal by number" ' \[0\]' ctr task kill -s 12 b
    check "$e: it stops" ' \[0\]' within 5 is b STOPPED
    check "$e: signal to one that has stopped" '*already finished*\[1\]' ctr task kill b
    check "$e: exec in one that has stopped" '*\[1\]' ctr task exec --exec-id s b true
    check "$e: exit code at delete" '*non-zero exit code 9*\[0\]' ctr task rm b
    check "$e: what is gone" '*not found*\[1\]' ctr task kill b
    check "$e: started once more" '*\[0\]' ctr task start --detach b
    check "$e: remove by force" '*137*\[0\]' ctr task rm --force b
    check "$e: forget" ' \[0\]' ctr container rm b
    check "$e: its shim is gone" ' \[0\]' within 1 none shim_of b
}

parallel_execs() {
    local i jobs=()
    for i in 1 2 3 4 5 6; do
        { ctr task exec --exec-id "many$i" c sh -c "echo $i; exit $i" >"$w/many$i" 2>&1; echo "$?" >>"$w/many$i"; } &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    for i in 1 2 3 4 5 6; do
        paste -s -d ' ' "$w/many$i"
    done | paste -s -d ,
}

typed_to_exec() {
    { echo typed; sleep 0.5; } | ctr task exec --exec-id typed c head -n 1
}

large_of_exec() {
    ctr task exec --exec-id large c sh -c 'head -c 3000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait' >"$w/out" 2>"$w/err"
    echo "$? $(stat -c %s "$w/out") $(stat -c %s "$w/err")"
}

# What it started still has the streams when it ends itself.
exec_leaves_child() {
    local began=$SECONDS
    ctr task exec --exec-id left c sh -c 'sleep 1000 & echo out; exit 4'
    echo "$? $((SECONDS - began < 8))"
}

open_files() {
    find "/proc/$(shim_of c)/fd" -mindepth 1 | wc -l
}

# 24 of them, 4 at a time: each one's end is heard of, and the shim has no more open than before.
many_execs() {
    local worker i jobs=() before
    before=$(open_files)
    for worker in 0 1 2 3; do
        for i in 1 2 3 4 5 6; do
            ctr task exec --exec-id "m$worker$i" c true || echo "m$worker$i: $?"
        done &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    within 2 says "$before" open_files || echo "$before open before, $(open_files) now"
}

# exec's client, while the container is killed.
exec_at_end() {
    ctr task exec --exec-id last c sh -c 'echo up >/w/last; sleep 1000' &
    local client=$!
    within 5 grep -q up "$w/last"
    ctr task kill -s KILL c
    wait $client
    echo "$?"
}

# The start of one that waits for its logger holds up no other, and that logger doesn't stay.
exec_beside_one_that_hangs() {
    printf '#!/bin/sh\nexec sleep 4321.5\n' >"$w/hangs" && chmod +x "$w/hangs"
    ctr task exec --detach --exec-id h1 --log-uri "binary://$w/hangs" c true >"$w/h1" 2>&1 &
    local client=$!
    within 5 pgrep -f '^sleep 4321.5' >/dev/null
    SECONDS=0
    ctr task exec --exec-id h2 c echo beside
    ctr task pause c && ctr task resume c
    [ $SECONDS -lt 5 ] && echo soon
    wait $client
    echo "$?"
    pgrep -f '^sleep 4321.5'
}

exec_cases() {
    "${run[@]}" --detach --mount "type=bind,src=$w,dst=/w,options=rbind:rw" $image c sleep 1000
    check "$e: exec" 'in \[5\]' ctr task exec --exec-id e1 c sh -c 'echo in; exit 5'
    check "$e: its name is free again" 'in \[0\]' ctr task exec --exec-id e1 c echo in
    check "$e: exec of a missing program" '*nonexistent*\[1\]' ctr task exec --exec-id e1 c nonexistent
    check "$e: exec after that" 'in \[0\]' ctr task exec --exec-id e1 c echo in
    check "$e: exec as a user, in a directory" '1000 /tmp \[0\]' ctr task exec --exec-id e1 --user 1000 --cwd /tmp c sh -c 'echo $(id -u) $(pwd)'
    check "$e: exec with a terminal" '*/dev/pts/0*24 80*\[6\]' script -qec \
        "stty rows 24 cols 80; ctr task exec --exec-id e1 --tty c sh -c 'tty; sleep 0.3; stty size; exit 6'" /dev/null
    check "$e: exec's input" 'typed \[0\]' typed_to_exec
    check "$e: exec's output, much" '0 3000000 2000000 \[0\]' large_of_exec
    check "$e: several at once" '1 1,2 2,3 3,4 4,5 5,6 6 \[0\]' parallel_execs
    check "$e: exec into a file" ' \[0\]' ctr task exec --exec-id e1 --log-uri "file://$w/exec.log" c echo in
    check "$e: what is in that file" 'in \[0\]' cat "$w/exec.log"
    ours "it waits, for ever" check "$e: exec beside one that hangs" $'beside\nsoon\n1 \\[1\\]' exec_beside_one_that_hangs
    check "$e: exec detached" ' \[0\]' ctr task exec --exec-id d1 --detach c sh -c 'echo up >/w/d1; sleep 1000'
    check "$e: it runs" ' \[0\]' within 5 grep -q up "$w/d1"
    check "$e: a name that is taken" '*exists*\[1\]' ctr task exec --exec-id d1 c true
    check "$e: processes with exec's" 'PID*d1*\[0\]' ctr task ps c
    check "$e: delete of exec's while it runs" '*\[1\]' ctr task rm --exec-id d1 c
    check "$e: signal to exec's" ' \[0\]' ctr task kill --exec-id d1 -s KILL c
    check "$e: delete of exec's" ' \[137\]' ctr task rm --exec-id d1 c
    check "$e: the container runs on" 'RUNNING \[0\]' state c
    check "$e: exec that leaves a child" $'out\n4 1 \\[0\\]' exec_leaves_child
    check "$e: many execs" ' \[0\]' many_execs
    check "$e: exec at the container's end" '137 \[0\]' exec_at_end
    check "$e: it stops as well" ' \[0\]' within 5 is c STOPPED
    check "$e: remove" '*137*\[0\]' ctr task rm c
    check "$e: detached again" ' \[0\]' ctr task start --detach c
    ctr task exec --exec-id d2 --detach c sleep 1000
    check "$e: signal to all" ' \[0\]' ctr task kill --all -s KILL c
    check "$e: all stop" ' \[0\]' within 5 is c STOPPED
    forget c
    "${run[@]}" --detach $image c sleep 1000
    ctr task pause c
    check "$e: remove one that is paused" '*137*\[0\]' ctr task rm --force c
    ctr container rm c
}

two_at_once() {
    "${run[@]}" --rm $image t1 sh -c 'sleep 0.2; echo one; exit 1' >"$w/t1" 2>&1 &
    local first=$!
    "${run[@]}" --rm $image t2 sh -c 'sleep 0.2; echo two; exit 2' >"$w/t2" 2>&1
    echo "$(cat "$w/t2") $?"
    wait $first
    echo "$(cat "$w/t1") $?"
}

# A dozen begin at once, and end at once.
dozen() {
    local i jobs=()
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        "${run[@]}" --detach $image "d$i" sleep 1000 &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    ctr task ls | grep -c RUNNING
    jobs=()
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        forget "d$i" &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    ctr task ls -q
}

# The containers of a pod, without a first one, begin together: they find one shim, or make one.
pod_at_once() {
    local i jobs=()
    for i in 1 2 3 4 5 6 7 8; do
        "${run[@]}" --detach --null-io --annotation "io.containerd.runc.v2.group=at-once-$$" $image o$i sleep 1000 &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    for i in 1 2 3 4 5 6 7 8; do
        shim_of o$i
    done | wc -l
    for i in 1 2 3 4 5 6 7 8; do
        forget o$i
    done
}

pod_cases() {
    check "$e: two at once" $'two 0\none 0 \\[0\\]' two_at_once
    check "$e: a dozen at once" '12 \[0\]' dozen
    local pod=(--annotation "io.containerd.runc.v2.group=pod-$CONTAINERD_NAMESPACE" --detach)
    check "$e: the first of a pod" ' \[0\]' "${run[@]}" "${pod[@]}" $image p1 sleep 1000
    check "$e: the second" ' \[0\]' "${run[@]}" "${pod[@]}" $image p2 sleep 1000
    check "$e: one shim for both" '1  \[0\]' eval 'echo "$(shim_of p1 | wc -l) $(shim_of p2)"'
    check "$e: the first goes" '*137*\[0\]' ctr task rm --force p1
    check "$e: the second stays" 'RUNNING \[0\]' state p2
    check "$e: exec in the second" 'in \[0\]' ctr task exec --exec-id e1 p2 echo in
    check "$e: the second goes" '*137*\[0\]' ctr task rm --force p2
    check "$e: their shim is gone" ' \[0\]' within 1 none shim_of p1
    check "$e: all of a pod at once" '1 \[0\]' pod_at_once
    ctr container rm p1 p2
}

attached() {
    ctr task attach k >"$w/attached" 2>&1 &
    local client=$!
    sleep 0.3
    ctr task kill -s USR1 k
    wait $client
    echo "$(cat "$w/attached") $?"
}

client_cases() {
    /usr/bin/ctr --address "$dir/c.sock" run --runtime "$type" $image k sh -c 'trap "echo usr1; exit 8" USR1; echo up; while :; do sleep 0.05; done' >"$w/k" 2>&1 &
    local client=$!
    check "$e: with a client" ' \[0\]' within 5 grep -q up "$w/k"
    kill -9 $client
    wait $client 2>/dev/null
    check "$e: its client killed" 'RUNNING \[0\]' state k
    check "$e: exec after that" 'in \[0\]' ctr task exec --exec-id e1 k echo in
    check "$e: another client" 'usr1 0 \[0\]' attached
    forget k
    check "$e: it is gone" ' \[0\]' within 1 none shim_of k
}

# Topics of a container's events, in their order.
topics() {
    grep -F "\"container_id\":\"$1\"" "$w/events" | grep -o '/tasks/[a-z-]*' | paste -s -d ' '
}

event_cases() {
    "${run[@]}" --detach $image v sleep 1000
    ctr task exec --exec-id e1 v true
    ctr task pause v
    ctr task resume v
    forget v
    within 5 eval 'topics v | grep -q delete'
    check "$e: events" '/tasks/create /tasks/start /tasks/exec-added /tasks/exec-started /tasks/exit /tasks/paused /tasks/resumed /tasks/exit /tasks/delete \[0\]' \
        topics v
    "${run[@]}" --rm $image v2 true
    within 5 eval 'topics v2 | grep -q delete'
    check "$e: events of a short one" '/tasks/create /tasks/start /tasks/exit /tasks/delete \[0\]' topics v2
}

# killed_daemon COMMAND...: containerd is killed, the command is done, and containerd starts anew.
killed_daemon() {
    kill -9 "$containerd"
    wait "$containerd" 2>/dev/null
    "$@"
    start_containerd
}

# The container's own process ends, and its shim has reaped it.
ends_meanwhile() {
    kill -9 "$1"
    within 5 eval '! kill -0 '"$1"' 2>/dev/null'
}

pid_of() {
    ctr task ls | awk -v id="$1" '$1 == id { print $2 }'
}

restart_cases() {
    local id
    for id in r1 r2 r3 r4; do
        "${run[@]}" --detach --log-uri "file://$w/$id.log" $image $id sleep 1000
    done
    ctr task pause r3
    killed_daemon ends_meanwhile "$(pid_of r2)"
    check "$e: containerd killed: one that runs" 'RUNNING \[0\]' state r1
    check "$e: containerd killed: one that ended meanwhile" 'STOPPED \[0\]' state r2
    check "$e: containerd killed: one that is paused" 'PAUSED \[0\]' state r3
    check "$e: containerd killed: exec" 'in \[0\]' ctr task exec --exec-id e1 r1 echo in
    check "$e: containerd killed: delete" '*137*\[0\]' ctr task rm r2
    check "$e: containerd killed: resume" ' \[0\]' ctr task resume r3
    check "$e: containerd killed: remove by force" '*137*\[0\]' ctr task rm --force r3
    check "$e: containerd killed: its shims are gone" ' \[0\]' within 1 none eval 'shim_of r2; shim_of r3'
    kill -9 "$(shim_of r1)"
    check "$e: shim killed: the task is gone" ' \[0\]' within 5 is r1 absent
    check "$e: shim killed: no process is left" ' \[0\]' within 1 none cgroup_processes r1
    killed_daemon kill -9 "$(shim_of r4)"
    check "$e: both killed: the task is gone" ' \[0\]' within 5 is r4 absent
    check "$e: both killed: no process is left" ' \[0\]' within 1 none cgroup_processes r4
    check "$e: shim of a pod killed" ' \[0\]' pods_shim_killed
    for id in r1 r2 r3 r4; do
        check "$e: after that: forget $id" ' \[0\]' ctr container rm $id
    done
}

# One that exec added has no parent left, and the container's first can't end before it.
pods_shim_killed() {
    local pod=(--annotation "io.containerd.runc.v2.group=killed-$CONTAINERD_NAMESPACE" --detach)
    "${run[@]}" "${pod[@]}" $image q1 sleep 1000
    "${run[@]}" "${pod[@]}" $image q2 sleep 1000
    ctr task exec --exec-id d1 --detach q2 sleep 1000
    kill -9 "$(shim_of q1)"
    within 5 none ctr task ls -q || echo "there are tasks"
    within 2 none eval 'cgroup_processes q1; cgroup_processes q2' || echo "there are processes"
    ctr container rm q1 q2
}

cgroup_processes() {
    cat /sys/fs/cgroup/*/"$CONTAINERD_NAMESPACE/$1/cgroup.procs" /sys/fs/cgroup/"$CONTAINERD_NAMESPACE/$1/cgroup.procs" 2>/dev/null
}

# Nobody reads a FIFO once a client that detached is gone: the container fills it, and waits. Its delete may wait for a reader,
# though not for ever, and that takes its time in the background.
unread_begins() {
    "${run[@]}" --detach $image u sh -c 'sleep 0.5; head -c 1000000 /dev/zero; sleep 1000'
    { sleep 1; SECONDS=0; ctr task rm --force u; echo "$?"; [ $SECONDS -lt 5 ] && echo soon; } >"$w/unread" 2>&1 &
    unread=$!
}

unread_ends() {
    wait $unread
    check "$e: nobody reads the output" $'*137*\n0\nsoon \\[0\\]' cat "$w/unread"
    check "$e: forget that" ' \[0\]' ctr container rm u
}

# What is left in the kernel and in directories of this namespace's containers, a line each. (ctr leaves the FIFOs of what
# exec added and is detached, under any shim.)
leftovers() {
    shims | sed 's/^/shim /'
    find /sys/fs/cgroup -mindepth 2 -path "*/$CONTAINERD_NAMESPACE/*" -type d
    grep -F "$dir/cs" /proc/self/mountinfo
    [ "$kind" = runc ] || find /run/containerd/s -mindepth 1 -not -path "${unused_at#*://}"
    find "$dir/cs/io.containerd.runtime.v2.task/$CONTAINERD_NAMESPACE" "$dir/cr/io.containerd.runtime.v2.task/$CONTAINERD_NAMESPACE" \
        "/run/containerd/hull/$CONTAINERD_NAMESPACE" "/run/containerd/runc/$CONTAINERD_NAMESPACE" -mindepth 1 2>/dev/null
    true
}

nothing_left_cases() {
    within 2 none leftovers
    check "$e: nothing is left" ' \[0\]' leftovers
    # The other shim leaves the sockets of those that were killed.
    [ "$kind" = hull ] || find /run/containerd/s -mindepth 1 -not -path "${unused_at#*://}" -delete
    rmdir /sys/fs/cgroup/*/"$CONTAINERD_NAMESPACE" /sys/fs/cgroup/"$CONTAINERD_NAMESPACE" 2>/dev/null
}
