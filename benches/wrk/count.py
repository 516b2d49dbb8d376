#!/usr/bin/env python3
"""User-space instructions a request, counted by valgrind: the same on a busy machine and on a quiet one.

    benches/wrk/count.py                 bare Pingora, then tidegate with 1,000 routes, with telemetry, with plugins
    benches/wrk/count.py --check         exit 1 when one costs 5 % more, beside bare, than instructions.json says
    benches/wrk/count.py --write         write instructions.json anew
    benches/wrk/count.py --top 30        and the functions that they go to

One client asks one request after the other on one connection. Ratios to bare are what is compared: toolchains and
libraries change both alike. A copy of more than 2 KiB counts an instruction a byte (`rep movsb`), in both alike too.
Needs valgrind and Linux. Loopback only.
"""
import argparse, json, re, socket, subprocess, sys, tempfile, time
from pathlib import Path

import bench

KNOWN = Path(__file__).with_name("instructions.json")
CASES = {"plain": dict(routes=1000), "telemetry": dict(routes=1000, telemetry=True),
         "plugins": dict(routes=1000, telemetry=True, plugins=True)}
REQUESTS = 1000


def ask(port, requests):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(requests):
        stream.sendall(b"GET /hot/x HTTP/1.1\r\nHost: bench.test\r\n\r\n")
        seen = b""
        while b"\r\n\r\n" not in seen or len(seen.partition(b"\r\n\r\n")[2]) < 1024:
            piece = stream.recv(65536)
            assert piece, f"closed after {seen}"
            seen += piece
        assert seen.startswith(b"HTTP/1.1 200"), seen
    return stream


def wait_for_route(port):
    """A program that valgrind runs takes its time to read a thousand routes."""
    for _ in range(600):
        try:
            return ask(port, 1).close()
        except (AssertionError, OSError):
            time.sleep(0.1)
    sys.exit("the route is not served")


def control(process, *words):
    subprocess.run(["callgrind_control", *words, str(process.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def count(argv, port, folder, top):
    out = Path(folder) / "callgrind"
    with bench.Running() as running:
        process = running.start("0", "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", *argv)
        bench.wait_for(port, process)
        wait_for_route(port)
        kept = [ask(port, 200)]
        control(process, "-i", "on")
        kept.append(ask(port, REQUESTS))
        control(process, "-i", "off")
        control(process, "-d")
    counted = max(Path(folder).glob("callgrind*"), key=lambda file: file.stat().st_size)
    text = subprocess.run(["callgrind_annotate", "--threshold=99", counted], capture_output=True, text=True, check=True).stdout
    total = int(re.search(r"([\d,]+) \([\d.]+%\)\s+PROGRAM TOTALS", text).group(1).replace(",", "")) / REQUESTS
    rows = re.findall(r"^\s*([\d,]+)\s+\(\s*[\d.]+%\)\s+\S*?:(\S.*?)(?: \[.*)?$", text, re.M)
    for number, name in rows[:top]:
        print(f"  {int(number.replace(',', '')) / REQUESTS:9.0f}  {name[:110]}")
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--only", choices=CASES, help="this one beside bare")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if not args.no_build:
        bench.build(args.profile, set())
    binaries = bench.ROOT / "target" / {"dev": "debug"}.get(args.profile, args.profile)
    with bench.Running() as running:
        origin = bench.free_port()
        bench.wait_for(origin, running.start("1", binaries / "examples/origin", f"127.0.0.1:{origin}"))
        found = {}
        for name, options in {"bare": None, **CASES}.items():
            if args.only not in (None, name) and options is not None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                port = bench.free_port()
                argv = [binaries / "examples/bare", f"127.0.0.1:{port}", f"127.0.0.1:{origin}", "1"]
                if options is not None:
                    file = Path(folder) / "tidegate.yaml"
                    file.write_text(json.dumps(bench.conf(port, origin, **options)))
                    argv = [binaries / "tidegate", "run", "--conf", file]
                found[name] = count(argv, port, folder, args.top)
                print(f"{name:10} {found[name]:9.0f} instructions a request, {found[name] / found['bare']:.3f} of bare", flush=True)
    ratios = {name: round(found[name] / found["bare"], 3) for name in CASES if name in found}
    if args.write and not args.only:
        KNOWN.write_text(json.dumps(ratios, indent=2) + "\n")
    if args.check:
        known = json.loads(KNOWN.read_text())
        worse = [f"{name}: {ratios[name]}, known {known[name]}" for name in ratios if ratios[name] > known[name] * 1.05]
        if worse:
            sys.exit("more than 5 % above what is known:\n" + "\n".join(worse))


if __name__ == "__main__":
    main()
