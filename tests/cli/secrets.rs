//! Private keys that do not load are told of, and nothing of them is told, by any command, log or API.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::support::{FREE_PORTS, PATIENCE, Serving, finish, folder, program};

/// Bytes in a row that nobody may meet again.
const RUN: usize = 6;

/// A chain and its key, and what of the key would betray it.
struct Pair {
    chain: String,
    key: String,
    traces: HashSet<String>,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
        // What every key of its kind begins with tells nothing.
        let secret = &body[48..];
        let mut traces = HashSet::new();
        for bytes in [secret.as_bytes(), &made.signing_key.serialize_der()[36..]] {
            for run in bytes.windows(RUN) {
                let listed = |format: fn(&u8) -> String, by: &str| run.iter().map(format).collect::<Vec<_>>().join(by);
                traces.insert(listed(|byte| byte.to_string(), ", "));
                traces.insert(listed(|byte| format!("{byte:02x}"), ""));
            }
        }
        traces.extend(secret.as_bytes().windows(RUN).map(|run| String::from_utf8(run.to_vec()).unwrap()));
        // A Secret in a file has the text once more in base64, at any of three offsets.
        for offset in 0..3 {
            let text = BASE64_STANDARD.encode(&secret.as_bytes()[offset..]);
            traces.extend(
                text.as_bytes()[..text.len() - 4].windows(12).map(|run| String::from_utf8(run.to_vec()).unwrap()),
            );
        }
        Self { chain, key, traces }
    }

    /// Chain and key in every broken form, by name.
    fn broken(&self) -> Vec<(&'static str, String, String)> {
        let (chain, key) = (&self.chain, &self.key);
        let one_line = |text: &str| text.replace('\n', "");
        let folded = |text: &str| text.replace('\n', " ");
        let escaped = |text: &str| text.replace('\n', "\\n");
        let cut = |text: &str| text[..text.len() * 2 / 3].to_owned();
        let joined = format!("{}{}", key.trim_end(), chain);
        vec![
            ("one-line", one_line(chain), one_line(key)),
            ("folded", folded(chain), folded(key)),
            ("escaped", escaped(chain), escaped(key)),
            ("key-only", key.clone(), key.clone()),
            ("key-only-one-line", one_line(key), one_line(key)),
            ("key-in-the-chain", folded(&format!("{key}{chain}")), key.clone()),
            ("key-before-the-chain", format!("{}{}", escaped(key), chain), key.clone()),
            ("swapped", key.clone(), chain.clone()),
            ("cut", cut(chain), cut(key)),
            ("cut-key-in-the-chain", cut(key), key.clone()),
            ("joined", joined.clone(), joined),
            ("no-end", key.replace("-----END", "----END"), key.replace("-----END", "----END")),
            ("no-begin", key.replace("-----BEGIN", "----BEGIN"), key.replace("-----BEGIN", "----BEGIN")),
            ("as-a-certificate", key.replace("PRIVATE KEY", "CERTIFICATE"), key.clone()),
            ("damaged", chain.replace("MI", "M!"), key.replace("MI", "M!")),
            ("blanks", format!("  {}", key.replace('\n', "\n  ")), format!("  {}", key.replace('\n', "\n\t"))),
        ]
    }

    fn is_untold(&self, by: &str, text: &str) {
        let found = self.traces.iter().find(|trace| text.contains(trace.as_str()));
        assert!(found.is_none(), "{by} tells {found:?} of the key:\n{text}");
    }
}

/// An Ingress and the Secret that it names, in both ways of writing a Secret.
fn manifest(name: &str, chain: &str, key: &str, is_clear: bool) -> String {
    let data = match is_clear {
        true => serde_json::json!({ "stringData": { "tls.crt": chain, "tls.key": key } }),
        false => {
            serde_json::json!({ "data": { "tls.crt": BASE64_STANDARD.encode(chain), "tls.key": BASE64_STANDARD.encode(key) } })
        }
    };
    let mut secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": name, "namespace": "shop" },
    });
    secret.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: {name}, namespace: shop }}
spec:
  ingressClassName: tidegate
  tls: [{{ hosts: [{name}.test], secretName: {name} }}]
  rules: [{{ host: {name}.test, http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: a, port: {{ number: 80 }} }} }} }}] }} }}]
---
{secret}
"
    )
}

/// Files that hold a Secret and are no YAML, or no object.
fn misshapen(key: &str) -> Vec<(&'static str, String)> {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: { name: x, namespace: shop }\n";
    vec![
        ("not-indented", format!("{head}stringData:\n  tls.key: |\n{key}  tls.crt: x\n")),
        ("no-block", format!("{head}stringData:\n  tls.key: {key}\n")),
        ("key-as-map", format!("{head}stringData: {:?}\n", key)),
        ("in-another-field", format!("{head}immutable: {:?}\n", key)),
        ("open-quote", format!("{head}stringData:\n  tls.key: \"{key}\n")),
        ("no-kind", format!("metadata: {{ name: y }}\nstringData: {{ tls.key: {:?} }}\n", key)),
        ("twice", format!("{head}stringData:\n  tls.key: {key:?}\n  tls.key: {key:?}\n")),
        ("bare", key.to_owned()),
        (
            "list",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- {}\n  stringData:\n    tls.key: |\n{key}\n",
                head.trim_end().replace('\n', "\n  ")
            ),
        ),
    ]
}

fn files(pair: &Pair) -> Vec<(String, String)> {
    let mut files =
        vec![("t.yaml".to_owned(), format!("{FREE_PORTS}sources: {{ files: {{ paths: [in], watch: true }} }}\n"))];
    for (name, chain, key) in pair.broken() {
        for is_clear in [true, false] {
            let name = format!("{name}-{is_clear}");
            files.push((format!("in/{name}.yaml"), manifest(&name, &chain, &key, is_clear)));
        }
    }
    files.extend(misshapen(&pair.key).into_iter().map(|(name, text)| (format!("in/bad-{name}.yaml"), text)));
    files
}

fn written(files: &[(String, String)]) -> tempfile::TempDir {
    folder(&files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
}

fn told(folder: &Path, arguments: &[&str]) -> String {
    let mut command = program(folder, arguments);
    command.env("TIDEGATE_LOG", "trace");
    let done = finish(command);
    format!("{}{}", done.out, done.err)
}

#[test]
fn nothing_of_a_key_that_does_not_load_is_told_by_commands() {
    let pair = Pair::new();
    let it = written(&files(&pair));
    let commands: [&[&str]; 10] = [
        &["check", "--conf", "t.yaml"],
        &["check", "--conf", "t.yaml", "-o", "json"],
        &["routes", "--conf", "t.yaml"],
        &["routes", "--conf", "t.yaml", "-o", "yaml"],
        &["explain", "GET", "https://cut-true.test/", "--conf", "t.yaml"],
        &["explain", "GET", "https://cut-true.test/", "--conf", "t.yaml", "-o", "json"],
        &["certs", "--conf", "t.yaml"],
        &["backends", "--conf", "t.yaml"],
        &["diagnostics", "--conf", "t.yaml"],
        &["diagnostics", "--conf", "t.yaml", "-o", "json"],
    ];
    for command in commands {
        pair.is_untold(&command.join(" "), &told(it.path(), command));
    }
    let text = told(it.path(), &["check", "--conf", "t.yaml"]);
    for (name, ..) in pair.broken() {
        for is_clear in [true, false] {
            let name = format!("shop/{name}-{is_clear}");
            let is_told = text.contains(&format!("error[InvalidCertificate]: certificate `{name}`"));
            // Files that were joined without a line end are read.
            assert_eq!(is_told, !name.contains("joined"), "{name}:\n{text}");
        }
    }
}

#[test]
fn nothing_of_a_key_that_does_not_load_is_told_by_a_running_proxy() {
    let pair = Pair::new();
    let it = written(&files(&pair));
    let mut command = program(it.path(), &["run", "--conf", "t.yaml"]);
    command.env("TIDEGATE_LOG", "trace");
    let serving = Serving::ready(command);
    let admin = serving.admin();
    for command in ["diagnostics", "certs", "routes", "backends"] {
        pair.is_untold(command, &told(it.path(), &[command, "--admin", &admin]));
    }
    for path in [
        "/",
        "/api/v1/diagnostics",
        "/api/v1/routes",
        "/api/v1/certificates",
        "/api/v1/upstreams",
        "/api/v1/status",
        "/api/v1/snapshot",
    ] {
        pair.is_untold(path, &asked(admin.trim_start_matches("http://").trim_end_matches('/'), path));
    }
    let summary = serving.summary.join("\n");
    let (_, log) = serving.stop();
    pair.is_untold("the summary", &summary);
    pair.is_untold("the log", &log);
}

fn asked(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
