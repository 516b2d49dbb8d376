#!/usr/bin/env python3
"""KiB a connection: idle ones in clear, over TLS and of HTTP/2, kept ones after a request, and streams that nobody reads.

    benches/connections.py [--tidegate BINARY] [--count 10000] [--streams 90]

Beside nginx and haproxy where they are installed; those that are not are named. Python's standard library and openssl
only. Addresses 127.0.0.2 to 127.0.0.9 take turns as sources, and the soft limit of descriptors is raised.
"""
import argparse, functools, os, re, resource, shutil, socket, ssl, struct, subprocess, tempfile, threading, time

PLAIN, TLS, ORIGIN = 18080, 18443, 18001
ANSWER = b"x" * (1 << 20)


def origin():
    listener = socket.create_server(("127.0.0.1", ORIGIN), backlog=4096)

    def serve(connection):
        read = b""
        try:
            while True:
                while b"\r\n\r\n" not in read:
                    more = connection.recv(65536)
                    if not more:
                        return
                    read += more
                head, read = read.split(b"\r\n\r\n", 1)
                body = ANSWER if b" /large" in head else b"ok"
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except OSError:
            pass
        finally:
            connection.close()

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def tidegate(binary, folder):
    with open(f"{folder}/tidegate.yaml", "w") as file:
        file.write(f"""
threads: 2
listeners:
  - {{ name: http, address: "127.0.0.1:{PLAIN}", protocol: http }}
  - {{ name: https, address: "127.0.0.1:{TLS}", protocol: https, tls: {{ certificateFile: pair.pem, keyFile: pair.pem }} }}
telemetry: "off"
admin: "off"
accessLog: "off"
defaults: {{ limits: {{ headerTimeout: 10m, keepAliveTimeout: 10m, connectionsPerSource: 0 }} }}
upstreams: {{ u: {{ endpoints: [ {{ address: "127.0.0.1:{ORIGIN}" }} ] }} }}
routes: [ {{ backends: [ {{ upstream: u }} ] }} ]
""")
    return [binary, "run", "--conf", f"{folder}/tidegate.yaml"]


def nginx(binary, folder):
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(f"""
daemon off; worker_processes 2; worker_rlimit_nofile 60000; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 30000; }}
http {{ access_log off; client_header_timeout 10m; keepalive_timeout 10m; proxy_max_temp_file_size 0;
  upstream u {{ server 127.0.0.1:{ORIGIN}; keepalive 100; }}
  server {{ listen 127.0.0.1:{PLAIN} backlog=4096; listen 127.0.0.1:{TLS} ssl http2 backlog=4096;
    ssl_certificate {folder}/pair.pem; ssl_certificate_key {folder}/pair.pem;
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
""")
    return [binary, "-c", f"{folder}/nginx.conf"]


def haproxy(binary, folder):
    with open(f"{folder}/haproxy.cfg", "w") as file:
        file.write(f"""
global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout http-request 10m
  timeout http-keep-alive 10m
frontend f
  bind 127.0.0.1:{PLAIN} backlog 4096
  bind 127.0.0.1:{TLS} ssl crt {folder}/pair.pem alpn h2,http/1.1 backlog 4096
  default_backend b
backend b
  server s 127.0.0.1:{ORIGIN}
""")
    return [binary, "-db", "-f", f"{folder}/haproxy.cfg"]


def resident(pid):
    """KiB of a process and its children."""
    kib = 0
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    for one in [pid, *children]:
        kib += int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{one}/status").read())[1])
    return kib


def connect(port, turn):
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(f"127.0.0.{2 + turn % 8}", 0))


@functools.cache
def client_side(protocol):
    """Made once: each would read all authorities of the machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def encrypted(turn, protocol):
    return client_side(protocol).wrap_socket(connect(TLS, turn), server_hostname="a.example")


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def request_block(path):
    fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", path)]
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def http2(turn, window=65535):
    stream = encrypted(turn, "h2")
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, window)))
    return stream


def http2_asked(turn):
    stream = http2(turn)
    stream.sendall(frame(4, 1, 0) + frame(1, 5, 1, request_block(b"/")))
    while b"ok" not in stream.recv(65536):
        pass
    return stream


def asked(stream):
    stream.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    while b"ok" not in stream.recv(65536):
        pass
    return stream


def stalled(streams):
    def opened(turn):
        stream = http2(turn, 0)
        for index in range(streams):
            stream.sendall(frame(1, 5, 1 + 2 * index, request_block(b"/large")))
        return stream
    return opened


def measure(command, count, open_one, settle):
    """KiB each of what is open, and KiB a process before and half a minute after."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.time() + 20
        while time.time() < until:
            try:
                connect(PLAIN, 0).close()
                break
            except OSError:
                time.sleep(0.1)
        [open_one(turn).close() for turn in range(4)]
        time.sleep(2)
        before = resident(process.pid)
        held = [open_one(turn) for turn in range(count)]
        time.sleep(settle)
        most = resident(process.pid)
        [stream.close() for stream in held]
        del held
        time.sleep(30)
        return (most - before) / count, before, resident(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tidegate", default="target/release/tidegate")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--streams", type=int, default=90)
    options = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    origin()
    folder = tempfile.mkdtemp()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
                    "-subj", "/CN=a.example", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/crt.pem"],
                   check=True, capture_output=True)
    with open(f"{folder}/pair.pem", "w") as file:
        file.write(open(f"{folder}/crt.pem").read() + open(f"{folder}/key.pem").read())
    peers = [(tidegate, options.tidegate), (nginx, shutil.which("nginx")), (haproxy, shutil.which("haproxy"))]
    cases = [
        ("silent, plain", options.count, lambda turn: connect(PLAIN, turn), 1),
        ("silent, TLS", options.count, lambda turn: encrypted(turn, "http/1.1"), 1),
        ("silent, HTTP/2", options.count, http2, 1),
        ("kept after a request, plain", options.count, lambda turn: asked(connect(PLAIN, turn)), 1),
        ("kept after a request, TLS", options.count, lambda turn: asked(encrypted(turn, "http/1.1")), 1),
        ("kept after a request, HTTP/2", options.count, http2_asked, 1),
        (f"{options.streams} stalled streams of 1 MiB, per stream", 10, stalled(options.streams), options.streams),
    ]
    print(f"load {os.getloadavg()[0]:.1f}; KiB each, and MiB of the process before and 30 s after")
    for name, count, open_one, parts in cases:
        for make, binary in peers:
            if not binary:
                print(f"{name}: {make.__name__} is not installed")
                continue
            try:
                each, before, after = measure(make(binary, folder), count, open_one, 3)
                print(f"{name}: {make.__name__} {each / parts:.1f} KiB ({before / 1024:.0f} -> {after / 1024:.0f} MiB)", flush=True)
            except OSError as error:
                print(f"{name}: {make.__name__} failed: {error}", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
