#!/bin/bash
# Builds HTTP components of JavaScript and of Python with packages of npm and PyPI, and has hull serve them.
#
#   tests/programs/http.sh [javascript|python|async]...
#
# All unless named; async is Python for WASI 0.3. As root. Needs node and npm, Python 3 with venv, cargo, and those registries; a release build of hull
# with hull-wasm and hull-wasmc beside it (HULL=FILE for another). Takes three minutes, and keeps what it builds in target/programs/http.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
hull=$(realpath "${HULL:-$(ls "$here"/target/*/release/hull)}")
work=$here/target/programs/http
source=$here/tests/programs/http
mkdir -p "$work"
[ $# -gt 0 ] || set -- javascript python async

# The interface, as the engine's own crate has it.
manifest=$(cd "$here" && cargo metadata --format-version 1 | python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "wasmtime-wasi-http"))')
rm -rf "$work/wit" "$work/wit3"
cp -r "$(dirname "$manifest")/wit" "$work/wit"
cp -r "$(dirname "$manifest")/src/p3/wit" "$work/wit3"
chmod -R u+w "$work/wit" "$work/wit3"
version=$(sed -n 's/^package wasi:http@\(.*\);/\1/p' "$work/wit/deps/http.wit")

build_javascript() {
    local packages=$work/javascript embedding wanted
    mkdir -p "$packages"
    [ -d "$packages/node_modules" ] || npm install --silent --no-audit --no-fund --prefix "$packages" @bytecodealliance/componentize-js
    # Its engine has the interface built in, in the version that it was made for.
    embedding=$packages/node_modules/@bytecodealliance/componentize-js/lib/starlingmonkey_embedding.wasm
    wanted=$(grep -aoE -m 1 'wasi:http/incoming-handler@[0-9.]+' "$embedding" | head -n 1 | sed 's/.*@//')
    rm -rf "$packages/wit"
    cp -r "$work/wit" "$packages/wit"
    find "$packages/wit" -name '*.wit' -exec sed -i "s/${version//./\\.}/$wanted/g" {} +
    cp "$source/build.mjs" "$packages/"
    (cd "$packages" && node build.mjs "$source/app.js" wit "$work/javascript.wasm")
}

# WIT, world, module of Python, component.
componentize() {
    local packages=$work/python
    [ -x "$packages/bin/componentize-py" ] || { python3 -m venv "$packages" && "$packages/bin/pip" install --quiet componentize-py; }
    # It leaves compiled modules beside them.
    mkdir -p "$work/source"
    cp "$source"/app*.py "$work/source/"
    (cd "$work/source" && "$packages/bin/componentize-py" --quiet -d "$1" -w "$2" componentize "$3" -o "$4")
}

build_python() {
    componentize "$work/wit" "wasi:http/proxy@$version" app "$work/python.wasm"
}

build_async() {
    local version
    version=$(sed -n 's/^package wasi:http@\(.*\);/\1/p' "$work/wit3/deps/http.wit")
    componentize "$work/wit3" "wasi:http/service@$version" app_async "$work/async.wasm"
}

# In a container with nothing but the component, whose network is entered to ask it.
serve() {
    local name=$1 id=hull-http-$$-$1 bundle=$work/bundle status=0 pid
    rm -rf "$bundle"
    mkdir -p "$bundle/rootfs"
    cp "$work/$name.wasm" "$bundle/rootfs/app.wasm"
    (cd "$bundle" && "$hull" spec && python3 - <<'END'
import json
with open("config.json") as f:
    config = json.load(f)
config["process"].update(args=["/app.wasm"], terminal=False)
config["annotations"] = {"dev.hull.wasm.http.listen": "127.0.0.1:8080", "dev.hull.wasm.http.timeout": "5"}
with open("config.json", "w") as f:
    json.dump(config, f)
END
    )
    "$hull" --root "$work/state" run --isolation wasm --bundle "$bundle" "$id" 2>"$work/$name.err" &
    pid=$!
    for _ in $(seq 600); do
        grep -q 'Serving HTTP' "$work/$name.err" && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    inside=$("$hull" --root "$work/state" state "$id" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
    nsenter -t "$inside" -n python3 "$source/client.py" 127.0.0.1:8080 "$name" || status=1
    "$hull" --root "$work/state" kill "$id" TERM
    wait "$pid" || { echo "$name: it ended with $?, and said:"; tail -n 20 "$work/$name.err"; status=1; }
    return $status
}

status=0
for name in "$@"; do
    "build_$name"
    serve "$name" || status=1
done
exit $status
