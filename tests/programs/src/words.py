import hashlib, json, sys
words = ",".join(sorted(set(sys.stdin.read().split())))
rows = json.load(open(sys.argv[1]))
with open(sys.argv[2], "w") as out:
    out.write(words)
print(words, sum(rows), 2**100, hashlib.sha256(words.encode()).hexdigest()[:8])
sys.exit(len(rows))
