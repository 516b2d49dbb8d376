#!/usr/bin/env python3
"""What changing configuration does to traffic: failures, latency, and how long a change takes to be live.

    benches/wrk/churn.py [--routes 10000] [--rate 2000] [--seconds 20] [--no-build]

tidegate reads ROUTES Ingresses, each with a Service and an EndpointSlice, from files. A client asks at a steady rate,
first in quiet, then while every Ingress is replaced once and one EndpointSlice changes 50 times a second, then in quiet
again. Prints latencies from the moment a request was due, failures, and the proxy's own measure of propagation.
Needs Linux and two cores: the proxy on core 0, client, origins and the writer of files on core 1. Loopback only.
"""
import argparse, json, os, re, subprocess, tempfile, threading, time, urllib.request
from pathlib import Path

import bench

PER_FILE = 100


def slice_of(name, addresses):
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address, _ in addresses]
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": addresses[0][1]}], "endpoints": endpoints}


def objects(number, address, version):
    name = f"app-{number}"
    backend = {"service": {"name": name, "port": {"number": 80}}}
    return [
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
         "metadata": {"name": name, "namespace": "default", "labels": {"version": str(version)}},
         "spec": {"ingressClassName": "tidegate", "rules": [{"host": f"h{number}.bench.test", "http": {"paths": [
             {"path": "/hot", "pathType": "Prefix", "backend": backend},
             {"path": f"/version-{version}", "pathType": "Prefix", "backend": backend}]}}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
         "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}},
        slice_of(name, [address]),
    ]


def write(path, documents):
    """As ConfigMap volumes do it: a new file in place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    new.rename(path)


def write_block(folder, block, args, origins, version):
    numbers = range(block * PER_FILE, min((block + 1) * PER_FILE, args.routes))
    write(folder / f"block-{block}.json", [o for n in numbers for o in objects(n, origins[0], version)])


def churn(folder, args, origins, stop, done):
    """Replaces every block once in the time, and flaps the endpoints of a Service of its own 50 times a second."""
    blocks = -(-args.routes // PER_FILE)
    start, flaps, written = time.monotonic(), 0, 0
    while not stop.is_set():
        passed = time.monotonic() - start
        if written < blocks and written <= passed / args.seconds * blocks:
            write_block(folder, written, args, origins, 2)
            written += 1
        which = [origins[:1], origins[1:], origins][flaps % 3]
        write(folder / "flap.json", [slice_of("flap", which)])
        flaps += 1
        stop.wait(max(0, start + flaps / 50 - time.monotonic()))
    done.update(flaps=flaps, routes=min(written * PER_FILE, args.routes))


def ask(binaries, port, args, host):
    out = subprocess.run(["taskset", "-c", "1", binaries / "examples/steady", f"127.0.0.1:{port}", host, "/hot/x",
                          str(args.rate), str(args.seconds), "32", str(args.routes)], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def propagation(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    buckets = [(float(le.replace("+Inf", "inf")), float(count)) for le, count in
               re.findall(r'tidegate_config_propagation_seconds_bucket\{[^}]*le="([^"]+)"\} (\S+)', text)]
    total = max((count for _, count in buckets), default=0)
    at = lambda share: next((le for le, count in buckets if total and count >= share * total), None)
    return {"changes": total, "p50_below_s": at(0.5), "p99_below_s": at(0.99)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=2_000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--no-build", action="store_true")
    args = parser.parse_args()
    if not args.no_build:
        subprocess.run(["cargo", "build", "--locked", "--profile", args.profile, "--bin", "tidegate", "--example", "origin",
                        "--example", "steady"], cwd=bench.ROOT, check=True)
    binaries = bench.ROOT / "target" / {"dev": "debug"}.get(args.profile, args.profile)
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder, bench.Running() as running:
        folder = Path(folder)
        manifests = folder / "manifests"
        manifests.mkdir()
        port = bench.free_port()
        origins = [("127.0.0.1", port), ("127.0.0.2", port)]
        for address, number in origins:
            bench.wait_for(number, running.start("1", binaries / "examples/origin", f"{address}:{number}"))
        class_ = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "tidegate"},
                  "spec": {"controller": "tidegate.io/ingress-controller"}}
        flap = objects(0, origins[0], 0)[1]
        flap["metadata"]["name"] = "flap"
        rule = objects(0, origins[0], 0)[0]
        rule["metadata"]["name"] = "flap"
        rule["spec"]["rules"][0] = json.loads(json.dumps(rule["spec"]["rules"][0]).replace("app-0", "flap").replace("h0.", "flap."))
        write(manifests / "base.json", [class_, flap, rule])
        write(manifests / "flap.json", [slice_of("flap", origins)])
        for block in range(-(-args.routes // PER_FILE)):
            write_block(manifests, block, args, origins, 1)
        http, telemetry = bench.free_port(), bench.free_port()
        conf = {"threads": 1, "listeners": [{"name": "l", "address": f"127.0.0.1:{http}", "protocol": "http"}],
                "telemetry": {"address": f"127.0.0.1:{telemetry}"}, "admin": "off", "accessLog": "off",
                "sources": {"files": {"paths": [str(manifests)], "watch": True}}}
        (folder / "tidegate.yaml").write_text(json.dumps(conf))
        started = time.monotonic()
        process = running.start("0", binaries / "tidegate", "run", "--conf", folder / "tidegate.yaml")
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{telemetry}/readyz", timeout=1)
                break
            except OSError:
                time.sleep(0.01)
        print(f"{args.routes} Ingresses, ready after {time.monotonic() - started:.2f} s, RSS {bench.rss_kib(process.pid)} KiB")
        for name in ["warm-up", "quiet", "churn", "quiet again"]:
            stop, done = threading.Event(), {}
            thread = threading.Thread(target=churn, args=(manifests, args, origins, stop, done))
            if name == "churn":
                thread.start()
            others = ask(binaries, http, args, "h#.bench.test")
            if name == "churn":
                stop.set()
                thread.join()
            print(f"{name:12} {json.dumps(others)} {json.dumps(done) if done else ''}", flush=True)
        print(f"propagation: {json.dumps(propagation(telemetry))}, RSS {bench.rss_kib(process.pid)} KiB, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
