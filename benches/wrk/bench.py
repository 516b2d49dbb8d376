#!/usr/bin/env python3
"""tidegate beside a bare Pingora proxy of the same build, under wrk: requests a second, latency and CPU a request.

    benches/wrk/bench.py [--routes 10000] [--telemetry] [--rounds 5] [--seconds 3] [--size 1024] [--profile dist]

Needs wrk, Linux (/proc) and two cores: the proxy is pinned to core 0, wrk and the origin to core 1.
Both proxies stay up and take turns, so that each ratio compares neighbours in time. Loopback only.
"""
import argparse, json, os, re, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody listens on {port}")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


def tidegate_conf(folder, port, origin, args):
    conf = {
        "threads": 1,
        "listeners": [{"name": "l", "address": f"127.0.0.1:{port}", "protocol": "http"}],
        "telemetry": {"address": f"127.0.0.1:{free_port()}"} if args.telemetry else "off",
        "admin": "off",
        "accessLog": {"path": "/dev/null", "format": "json"} if args.telemetry else "off",
        "upstreams": {"origin": {"endpoints": [{"address": f"127.0.0.1:{origin}"}]}},
        "routes": [{"hosts": [f"h{i // 10}.bench.test"], "paths": [{"prefix": f"/p{i % 10}"}],
                    "backends": [{"upstream": "origin"}]} for i in range(args.routes - 1)]
                  + [{"hosts": ["bench.test"], "paths": [{"prefix": "/hot"}], "backends": [{"upstream": "origin"}]}],
    }
    file = folder / "tidegate.yaml"
    file.write_text(json.dumps(conf))
    return file


def measure(port, pid, seconds):
    before = cpu_seconds(pid)
    out = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", "--latency",
                          "-H", "Host: bench.test", f"http://127.0.0.1:{port}/hot/x"],
                         capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(pid) - before
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    failed = re.findall(r"Non-2xx.*: (\d+)|Socket errors: (.*)", out)
    latency = {p: v for p, v in re.findall(r"(50|99)%\s+(\S+)", out)}
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    return {"us": used / requests * 1e6, "rps": rate, "p50": latency.get("50"), "p99": latency.get("99"), "failed": failed}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--telemetry", action="store_true", help="metrics and JSON access log to /dev/null")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--no-build", action="store_true", help="take the binaries that are there")
    args = parser.parse_args()
    if not args.no_build:
        subprocess.run(["cargo", "build", "--locked", "--profile", args.profile, "--bin", "tidegate",
                        "--example", "bare", "--example", "origin"], cwd=ROOT, check=True)
    binaries = ROOT / "target" / {"dev": "debug"}.get(args.profile, args.profile)
    started = []

    def start(core, *argv):
        process = subprocess.Popen(["taskset", "-c", core, *map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    try:
        with tempfile.TemporaryDirectory() as folder:
            origin, bare, tide = free_port(), free_port(), free_port()
            wait_for(origin, start("1", binaries / "examples/origin", f"127.0.0.1:{origin}", args.size))
            peers = {
                "bare": (bare, start("0", binaries / "examples/bare", f"127.0.0.1:{bare}", f"127.0.0.1:{origin}", 1)),
                "tidegate": (tide, start("0", binaries / "tidegate", "run", "--conf", tidegate_conf(Path(folder), tide, origin, args))),
            }
            for port, process in peers.values():
                wait_for(port, process)
            time.sleep(1 + args.routes / 20_000)
            rounds = []
            for index in range(args.rounds + 1):
                row = {name: measure(port, process.pid, args.seconds if index else 1) for name, (port, process) in peers.items()}
                if index:  # the first is the warm-up
                    rounds.append(row)
            report(rounds, peers, args)
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)  # Pingora sleeps its whole grace period on SIGTERM
        for process in started:
            process.wait(timeout=30)


def report(rounds, peers, args):
    print(f"\n{args.routes} routes, telemetry {'on' if args.telemetry else 'off'}, {args.size} byte answers, "
          f"{args.rounds} rounds of {args.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"{'proxy':10} {'CPU µs/request':>24} {'requests/s':>12} {'p50':>9} {'p99':>9} {'RSS KiB':>9}")
    for name, (_, process) in peers.items():
        us = [row[name]["us"] for row in rounds]
        rps = statistics.median(row[name]["rps"] for row in rounds)
        print(f"{name:10} {statistics.median(us):9.2f} [{min(us):.2f}–{max(us):.2f}] {rps:12.0f} "
              f"{rounds[-1][name]['p50']:>9} {rounds[-1][name]['p99']:>9} {rss_kib(process.pid):9}")
        for row in rounds:
            if row[name]["failed"]:
                print(f"  {name} failed: {row[name]['failed']}")
    ratios = [row["tidegate"]["us"] / row["bare"]["us"] for row in rounds]
    print(f"CPU a request, tidegate / bare: median {statistics.median(ratios):.3f} [{min(ratios):.3f}–{max(ratios):.3f}]")


if __name__ == "__main__":
    main()
