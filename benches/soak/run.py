#!/usr/bin/env python3
"""A soak: mixed traffic, clients that leave, an upstream that breaks, and configuration that changes all the while.

    benches/soak/run.py [--minutes 30] [--profile dist] [--no-build] [--access-log FILE]

48 clients of twelve kinds (HTTP/1 and HTTP/2, plain and TLS, uploads, tunnels, aborts, noise) ask one tidegate for
MINUTES; ten times a second an EndpointSlice changes, and once a second an Ingress. Prints the resident memory and the
descriptors of the proxy each minute, then exits 1 unless
- every client that behaves got what it should,
- resident memory grew by less than 1 MiB an hour after the warm-up (by less than 4 MiB in all in runs under 20 minutes,
  in which a slope says nothing),
- descriptors and every gauge are back where they were before.
Needs Linux (/proc). Loopback only.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wrk"))
import bench

ORDERLY = ["h1", "h1-tls", "h2", "tunnel", "refused", "broken-upstream"]
SLOPE = 1.0  # MiB an hour
GROWTH = 4.0  # MiB in all, where the run is too short for a slope
BACK = 120  # seconds that descriptors and gauges have to come back
# Gauges that tell of time, of what is configured, or of the whole process.
UNCOMPARED = re.compile(r"^(process_|tidegate_(build_info|config_|certificate_|capacity\{|capacity |upstream_endpoints|upstream_healthy|memory_|task_))|timestamp|_age_seconds")


def write(path, documents):
    """As ConfigMap volumes do it: a new file in place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    new.rename(path)


def endpoints(addresses, port):
    return [{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "soak-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "soak"}},
             "ports": [{"name": "http", "port": port}],
             "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]}]


def ingress(name, path, version):
    backend = {"service": {"name": "soak", "port": {"number": 80}}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "labels": {"version": str(version)}},
            "spec": {"ingressClassName": "tidegate", "rules": [{"host": "soak.test", "http": {"paths": [
                {"path": path, "pathType": "Prefix", "backend": backend}]}}]}}


def write_base(folder, port):
    write(folder / "base.json", [
        {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "tidegate"},
         "spec": {"controller": "tidegate.io/ingress-controller"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "soak", "namespace": "default"},
         "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}},
        ingress("soak", "/soak", 0)])
    write(folder / "slice.json", endpoints(["127.0.0.1", "127.0.0.2"], port))


def churn(folder, port, stop):
    """Never without an endpoint: what fails would be the proxy's doing."""
    turn = 0
    while not stop.wait(0.1):
        turn += 1
        addresses = [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2"]][turn % 3]
        write(folder / "slice.json", endpoints(addresses, port))
        if turn % 10 == 0:
            write(folder / "moving.json", [ingress("moving", f"/moving-{turn // 10 % 5}", turn)])


def conf(folder, plain, tls, telemetry, access_log):
    to = {"backends": [{"upstream": "down"}]}
    (folder / "users").write_text("somebody:$apr1$x$Vq8dYRYyVnQGkC4nuzr0D/\n")
    routes = [{"hosts": ["soak.test"], "paths": [{"prefix": "/down"}], **to},
              {"hosts": ["soak.test"], "paths": [{"prefix": "/guarded"}], **to,
               "plugins": [{"type": "basic-auth", "users": {"file": "users"}}]},
              {"hosts": ["soak.test"], "paths": [{"prefix": "/limited"}], **to,
               "plugins": [{"type": "rate-limit", "rate": "1/h", "key": "route"}]}]
    return {"threads": 2,
            "listeners": [{"name": "plain", "address": f"127.0.0.1:{plain}", "protocol": "http"},
                          {"name": "tls", "address": f"127.0.0.1:{tls}", "protocol": "https"}],
            "telemetry": {"address": f"127.0.0.1:{telemetry}"}, "admin": "off",
            "accessLog": {"path": access_log, "format": "json"},
            "ingress": {"sslRedirect": False},
            "sources": {"files": {"paths": [str(folder / "manifests")], "watch": True}},
            "upstreams": {"down": {"endpoints": [{"address": f"127.0.0.1:{bench.free_port()}"}]}},
            "routes": routes}


def ask(port, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": "soak.test"})
    try:
        return urllib.request.urlopen(request, timeout=30).read().decode()
    except urllib.error.HTTPError:
        return ""


def gauges(telemetry):
    """Every gauge that must come back, by name and labels."""
    text = ask(telemetry, "/metrics")
    names = set(re.findall(r"^# TYPE (\S+) gauge$", text, re.M))
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {key: float(value) for key, value in rows
            if key.partition("{")[0] in names and not UNCOMPARED.search(key)}


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def slope(samples):
    """MiB an hour, by least squares."""
    middle, mean = (statistics.fmean(column) for column in zip(*samples))
    spread = sum((at - middle) ** 2 for at, _ in samples)
    return sum((at - middle) * (kib - mean) for at, kib in samples) / spread * 3600 / 1024


def watch(process, clients, minutes):
    """Samples of resident memory, (second, KiB), until the clients are done."""
    started, samples, told = time.monotonic(), [], 0
    while clients.poll() is None:
        if process.poll() is not None:
            sys.exit(f"tidegate ended with {process.returncode}")
        passed = time.monotonic() - started
        samples.append((passed, bench.rss_kib(process.pid)))
        if passed >= told * 60:
            print(f"minute {told:3}: RSS {samples[-1][1]} KiB, {descriptors(process.pid)} descriptors", flush=True)
            told += 1
        if passed > minutes * 60 + 120:
            sys.exit("the clients do not end")
        time.sleep(0.5)
    return samples


def judge_memory(samples, minutes):
    kept = [sample for sample in samples if sample[0] >= minutes * 60 / 5]
    fifth = max(1, len(kept) // 5)
    growth = (statistics.median(kib for _, kib in kept[-fifth:]) - statistics.median(kib for _, kib in kept[:fifth])) / 1024
    per_hour = slope(kept)
    print(f"RSS after the warm-up: {per_hour:+.2f} MiB an hour, {growth:+.2f} MiB between first and last fifth")
    if minutes >= 20:
        return [] if per_hour < SLOPE else [f"RSS grows by {per_hour:.2f} MiB an hour"]
    return [] if growth < GROWTH else [f"RSS grew by {growth:.2f} MiB"]


def judge_back(process, telemetry, gauges_before, descriptors_before):
    """What has not come back in time."""
    deadline = time.monotonic() + BACK
    while True:
        now = gauges(telemetry)
        wrong = [f"{key} is {value:g}, was {gauges_before.get(key, 0):g}" for key, value in now.items()
                 if value > gauges_before.get(key, 0)]
        open_now = descriptors(process.pid)
        if open_now > descriptors_before:
            wrong.append(f"{open_now} descriptors, {descriptors_before} before")
        if not wrong or time.monotonic() > deadline:
            print(f"back after {BACK - (deadline - time.monotonic()):.0f} s: {len(now)} gauges, {open_now} descriptors "
                  f"({descriptors_before} before)")
            return wrong
        time.sleep(0.5)


def judge_clients(seen):
    for kind, row in seen.items():
        print(f"{kind:16} {row['rounds']:8} rounds, {row['failed']} failed {row['firstFailure'] or ''}")
    return [f"{kind}: {seen[kind]['failed']} rounds failed" for kind in ORDERLY if seen[kind]["failed"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--access-log", default="/dev/null", help="where the proxy's access log goes")
    args = parser.parse_args()
    if not args.no_build:
        subprocess.run(["cargo", "build", "--locked", "--profile", args.profile, "--bin", "tidegate", "--example", "soak"],
                       cwd=bench.ROOT, check=True)
    binaries = bench.ROOT / "target" / {"dev": "debug"}.get(args.profile, args.profile)
    with tempfile.TemporaryDirectory() as folder, bench.Running() as running:
        folder = Path(folder)
        (folder / "manifests").mkdir()
        plain, tls, telemetry, port = (bench.free_port() for _ in range(4))
        running.start("0,1", binaries / "examples/soak", "origin", f"127.0.0.1:{port}", f"127.0.0.2:{port}")
        write_base(folder / "manifests", port)
        (folder / "tidegate.yaml").write_text(json.dumps(conf(folder, plain, tls, telemetry, args.access_log)))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([binaries / "tidegate", "run", "--conf", folder / "tidegate.yaml"], stdout=log, stderr=log)
        running.started.append(process)
        for listener in [plain, telemetry]:
            bench.wait_for(listener, process)
        while not ask(telemetry, "/readyz"):
            time.sleep(0.05)
        for path in ["/soak/bytes/1", "/limited", "/limited"]:
            ask(plain, path)
        gauges_before, descriptors_before = gauges(telemetry), descriptors(process.pid)
        stop = threading.Event()
        changes = threading.Thread(target=churn, args=(folder / "manifests", port, stop))
        changes.start()
        clients = subprocess.Popen([binaries / "examples/soak", "clients", f"127.0.0.1:{plain}", f"127.0.0.1:{tls}",
                                    str(int(args.minutes * 60))], stdout=subprocess.PIPE, text=True)
        try:
            samples = watch(process, clients, args.minutes)
        finally:
            stop.set()
            changes.join()
            clients.terminate()
        write(folder / "manifests/slice.json", endpoints(["127.0.0.1", "127.0.0.2"], port))
        seen = json.loads(clients.stdout.read())
        wrong = judge_clients(seen) + judge_memory(samples, args.minutes)
        wrong += judge_back(process, telemetry, gauges_before, descriptors_before)
        panics = len(re.findall(r"panicked at", (folder / "log").read_text(errors="replace")))
        if panics:
            wrong.append(f"{panics} panics in the log")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
