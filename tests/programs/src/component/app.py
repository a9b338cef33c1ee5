import json
import sys

from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        words = ",".join(sorted(set(sys.stdin.read().split())))
        with open(sys.argv[1]) as file:
            rows = json.load(file)
        with open(sys.argv[2], "w") as out:
            out.write(words)
        print(words, sum(rows), 2**100)
        sys.exit(len(sys.argv) > 3)
