"""client.py ADDRESS NAME: asks a component that is served, and looks whether it answers as it should."""
import concurrent.futures
import http.client
import json
import sys
import time

address, name = sys.argv[1:]
failed = []


def ask(path, body=None, method="POST"):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.read().decode()


def case(what, ok, got):
    print("ok    " if ok else "FAIL  ", f"{name}: {what}" + ("" if ok else f": {got!r}"))
    if not ok:
        failed.append(what)


def asked(got, path, body):
    return got[0] == 200 and json.loads(got[1]) == {"method": "POST", "path": path, "body": body}


got = ask("/a?b=c", "a body")
case("a request is answered", asked(got, "/a?b=c", "a body"), got)
long = "0123456789" * 20000
got = ask("/long", long)
case("so is one with a long body", asked(got, "/long", long), got[0])
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    got = list(pool.map(lambda n: asked(ask(f"/{n}", str(n)), f"/{n}", str(n)), range(200)))
case("200 requests, 16 at a time", all(got), got.count(False))
if name == "javascript":
    got = ask(f"/relay?to=http://{address}/inner", method="GET")
    case("it asks another", got[0] == 200 and json.loads(got[1])["path"] == "/inner", got)
begun = time.monotonic()
got = ask("/loop", "")
case("a loop is cut off", got[0] == 504 and time.monotonic() - begun < 15, got)
got = ask("/after", "x")
case("and another request answered", asked(got, "/after", "x"), got)
times = []
for _ in range(100):
    begun = time.monotonic()
    ask("/", "x")
    times.append(time.monotonic() - begun)
print(f"        {name}: {sorted(times)[50] * 1000:.1f} ms for a request, each with an instance of its own")
print(f"{name}: {len(failed)} failed")
sys.exit(1 if failed else 0)
