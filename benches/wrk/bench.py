#!/usr/bin/env python3
"""tidegate beside bare Pingora proxies under wrk: requests a second, latency and CPU a request, as ratios of one run.

    benches/wrk/bench.py                      every scenario below
    benches/wrk/bench.py routes telemetry     some of them
    benches/wrk/bench.py --check              exit 1 when a ratio is above its bar
    benches/wrk/bench.py --train              load for a profile: no rounds, no figures

scenario   tidegate with                                    beside         bar
routes     10,000 routes, telemetry off                     bare           1.05
telemetry  the same, metrics and JSON access log            bare           1.15
plugins    the same, and headers and rate-limit on them     bare           1.25
lean       one route, telemetry off                         stock          0.95, with a profile 0.85
large      the same, 100 KiB answers                        stock          0.50
untold     `routes` without X-Forwarded-* and X-Request-ID  bare           none: shows what those fields cost

bare is a Pingora proxy with one upstream and nothing else in tidegate's own build; stock is the same with the system's
allocator. Needs wrk, Linux (/proc) and two cores: the proxies are pinned to core 0, wrk and the origin to core 1. All
stay up and take turns, so that each ratio compares neighbours in time. Loopback only.
"""
import argparse, json, os, re, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
SCENARIOS = {
    "routes": dict(peer="bare", bar=1.05, routes=10_000),
    "telemetry": dict(peer="bare", bar=1.15, routes=10_000, telemetry=True),
    "plugins": dict(peer="bare", bar=1.25, routes=10_000, telemetry=True, plugins=True),
    "lean": dict(peer="stock", bar=0.95, routes=1),
    "large": dict(peer="stock", bar=0.5, routes=1, size=102_400),
    "untold": dict(peer="bare", bar=None, routes=10_000, untold=True),
}
CHAIN = [
    {"type": "headers", "request": {"set": {"X-Env": "bench", "X-Client": "${client.ip}"}, "remove": ["X-Debug"]},
     "response": {"set": {"X-Frame-Options": "DENY"}}},
    "limit",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with {process.returncode}")
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


def conf(port, origin, routes=1, telemetry=False, plugins=False, untold=False):
    """The conf of tidegate; the request that is measured takes the last route."""
    chain = {"plugins": CHAIN} if plugins else {}
    to = {"backends": [{"upstream": "origin"}], **chain}
    made = {
        "threads": 1,
        "listeners": [{"name": "l", "address": f"127.0.0.1:{port}", "protocol": "http"}],
        "telemetry": {"address": f"127.0.0.1:{free_port()}"} if telemetry else "off",
        "admin": "off",
        "accessLog": {"path": "/dev/null", "format": "json"} if telemetry else "off",
        "upstreams": {"origin": {"endpoints": [{"address": f"127.0.0.1:{origin}"}]}},
        "routes": [{"hosts": [f"h{i // 10}.bench.test"], "paths": [{"prefix": f"/p{i % 10}"}], **to}
                   for i in range(routes - 1)]
                  + [{"hosts": ["bench.test"], "paths": [{"prefix": "/hot"}], **to}],
    }
    if plugins:
        made["plugins"] = {"limit": {"type": "rate-limit", "rate": "100000/s", "burst": 100_000}}
    if untold:
        made["defaults"] = {"xForwardedHeaders": False, "requestIdHeader": False}
    return made


def wrk(port, seconds, connections=64):
    return subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
                           "-H", "Host: bench.test", f"http://127.0.0.1:{port}/hot/x"],
                          capture_output=True, text=True, check=True).stdout


def measure(port, pid, seconds):
    before = cpu_seconds(pid)
    out = wrk(port, seconds)
    used = cpu_seconds(pid) - before
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    latency = {p: v for p, v in re.findall(r"(50|99)%\s+(\S+)", out)}
    return {"us": used / requests * 1e6, "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p50": latency.get("50"), "p99": latency.get("99"),
            "failed": re.findall(r"Non-2xx.*: (\d+)|Socket errors: (.*)", out)}


# What tidegate would start itself anew for, which valgrind does not follow; the floor gets the same.
ALLOCATOR = {"MIMALLOC_PAGE_FULL_RETAIN": "0", "MIMALLOC_PAGE_MAX_RECLAIM": "0"}


class Running:
    """Processes of one scenario, ended with it."""

    def __init__(self):
        self.started = []

    def start(self, core, *argv):
        process = subprocess.Popen(["taskset", "-c", core, *map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | ALLOCATOR)
        self.started.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.send_signal(signal.SIGINT)  # Pingora sleeps its whole grace period on SIGTERM
        for process in self.started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # what a shell started in the background ignores SIGINT
                process.kill()
                process.wait()


def start_tidegate(running, folder, origin, binary, **options):
    port = free_port()
    file = Path(folder) / "tidegate.yaml"
    file.write_text(json.dumps(conf(port, origin, **options)))
    process = running.start("0", binary, "run", "--conf", file)
    wait_for(port, process)
    return port, process


def run(name, args, binaries):
    options = dict(SCENARIOS[name])
    peer, bar, size = options.pop("peer"), options.pop("bar"), options.pop("size", 1024)
    with tempfile.TemporaryDirectory() as folder, Running() as running:
        origin, other = free_port(), free_port()
        wait_for(origin, running.start("1", binaries["origin"], f"127.0.0.1:{origin}", size))
        peers = {peer: (other, running.start("0", binaries[peer], f"127.0.0.1:{other}", f"127.0.0.1:{origin}", 1)),
                 "tidegate": start_tidegate(running, folder, origin, binaries["tidegate"], **options)}
        wait_for(other, peers[peer][1])
        time.sleep(1 + options["routes"] / 20_000)
        rounds = []
        for index in range(args.rounds + 1):
            order = list(peers.items()) if index % 2 else list(peers.items())[::-1]
            row = {key: measure(port, process.pid, args.seconds if index else 1) for key, (port, process) in order}
            if index:  # the first is the warm-up
                rounds.append(row)
        return report(name, rounds, peers, peer, bar, size, args)


def report(name, rounds, peers, peer, bar, size, args):
    print(f"\n{name}: {size} byte answers, {args.rounds} rounds of {args.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"{'proxy':10} {'CPU µs/request':>24} {'requests/s':>12} {'p50':>9} {'p99':>9} {'RSS KiB':>9}")
    for key, (_, process) in peers.items():
        us = [row[key]["us"] for row in rounds]
        rps = statistics.median(row[key]["rps"] for row in rounds)
        print(f"{key:10} {statistics.median(us):9.2f} [{min(us):.2f}–{max(us):.2f}] {rps:12.0f} "
              f"{rounds[-1][key]['p50']:>9} {rounds[-1][key]['p99']:>9} {rss_kib(process.pid):9}")
        for row in rounds:
            if row[key]["failed"]:
                print(f"  {key} failed: {row[key]['failed']}")
    ratios = [row["tidegate"]["us"] / row[peer]["us"] for row in rounds]
    median = statistics.median(ratios)
    against = "" if bar is None else f", bar {bar}: {'met' if median <= bar else 'MISSED'}"
    print(f"CPU a request, tidegate / {peer}: median {median:.3f} [{min(ratios):.3f}–{max(ratios):.3f}]{against}", flush=True)
    return bar is None or median <= bar


def train(args, binaries):
    """What a profile should know: small and large answers, routes, log, metrics, plugins."""
    for size, options in [(1024, dict(routes=1)), (1024, dict(routes=1000, telemetry=True, plugins=True)), (102_400, dict(routes=1))]:
        with tempfile.TemporaryDirectory() as folder, Running() as running:
            origin = free_port()
            wait_for(origin, running.start("1", binaries["origin"], f"127.0.0.1:{origin}", size))
            port, process = start_tidegate(running, folder, origin, binaries["tidegate"], **options)
            wrk(port, args.seconds * 3)


def build(profile, peers):
    common = ["cargo", "build", "--locked", "--profile", profile]
    subprocess.run([*common, "--bin", "tidegate", "--example", "bare", "--example", "origin"], cwd=ROOT, check=True)
    if "stock" in peers:
        subprocess.run([*common, "--no-default-features", "--example", "bare", "--target-dir", "target/stock"], cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--no-build", action="store_true", help="take the binaries that are there")
    parser.add_argument("--tidegate", type=Path, help="another binary of tidegate, for instance one with a profile")
    parser.add_argument("--check", action="store_true", help="exit 1 when a ratio is above its bar")
    parser.add_argument("--train", action="store_true", help="only load tidegate, for a profile")
    args = parser.parse_args()
    names = args.scenarios or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"there is no scenario {', '.join(unknown)}")
    if not args.no_build:
        build(args.profile, {SCENARIOS[name]["peer"] for name in names} if not args.train else set())
    folder = {"dev": "debug"}.get(args.profile, args.profile)
    target = ROOT / "target"
    binaries = {"tidegate": args.tidegate or target / folder / "tidegate", "bare": target / folder / "examples/bare",
                "origin": target / folder / "examples/origin", "stock": target / "stock" / folder / "examples/bare"}
    if args.train:
        return train(args, binaries)
    met = [run(name, args, binaries) for name in names]
    if args.check and not all(met):
        sys.exit(1)


if __name__ == "__main__":
    main()
