//! A proxy that follows an API server, requests without end, and objects for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate::{Running, Settings, Tidegate};

use crate::server::ApiServer;
use crate::support::{PATIENCE, get, ingress};

/// A proxy that follows an API server.
pub struct Edge {
    pub running: Running,
    pub folder: TempDir,
}

impl Edge {
    /// Starts one that is ready.
    pub async fn start(server: &ApiServer) -> Self {
        let edge = Self::begin(server, "").await;
        tokio::time::timeout(PATIENCE, edge.running.ready()).await.expect("the proxy gets ready");
        edge
    }

    /// Starts one whose conf says this besides, in `sources.kubernetes` and at the end.
    pub async fn start_with(server: &ApiServer, kubernetes: &str, conf: &str) -> Self {
        let edge = Self::begin_with(server, kubernetes, conf).await;
        tokio::time::timeout(PATIENCE, edge.running.ready()).await.expect("the proxy gets ready");
        edge
    }

    pub async fn begin(server: &ApiServer, kubernetes: &str) -> Self {
        Self::begin_with(server, kubernetes, "").await
    }

    pub async fn begin_with(server: &ApiServer, kubernetes: &str, conf: &str) -> Self {
        // Echo servers of tests are on loopback, where no cluster's endpoints may be otherwise.
        let allowed = if conf.contains("defaults:") { "" } else { "defaults: { allowAddresses: [127.0.0.0/8] }\n" };
        Self::begin_as(&kubeconfig(server), kubernetes, &format!("{conf}{allowed}")).await
    }

    /// Starts one with a kubeconfig.
    pub async fn begin_as(kubeconfig: &str, kubernetes: &str, conf: &str) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("kube.yaml"), kubeconfig).unwrap();
        let conf = format!(
            "listeners:\n  - {{ name: http, address: '127.0.0.1:0', protocol: http }}\n  - {{ name: https, address: '127.0.0.1:0', protocol: https }}\ntelemetry: {{ address: '127.0.0.1:0' }}\nadmin: off\naccessLog: off\nsources: {{ kubernetes: {{ kubeconfig: kube.yaml{kubernetes} }} }}\n{conf}"
        );
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, conf).unwrap();
        let settings = Settings::load(&file).unwrap();
        let running = Tidegate::builder().plugins(tidegate_plugins::ALL).start(settings).await.unwrap();
        Self { running, folder }
    }

    pub fn http(&self) -> std::net::SocketAddr {
        self.running.listener("http").unwrap()
    }

    pub fn https(&self) -> std::net::SocketAddr {
        self.running.listener("https").unwrap()
    }

    /// Replaces a part of the conf by another one.
    pub fn rewrite(&self, part: &str, other: &str) {
        let file = self.folder.path().join("tidegate.yaml");
        let conf = std::fs::read_to_string(&file).unwrap();
        assert!(conf.contains(part), "{conf}");
        let new = self.folder.path().join("new");
        std::fs::write(&new, conf.replace(part, other)).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Waits until a host is answered with this status.
    pub async fn until(&self, host: &str, status: u16) {
        let wait = async {
            while get(self.http(), host, "/").await.status != status {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{host} was never answered {status}"));
    }

    /// Waits until the diagnostics have this code, or have it no more.
    pub async fn until_told(&self, code: &str, is_there: bool) {
        let wait = async {
            let mut revision = self.running.revision();
            while self.running.diagnostics().iter().any(|it| it.code.as_str() == code) != is_there {
                self.running.after(revision).await;
                revision = self.running.revision();
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{code}: {:?}", self.running.diagnostics()));
    }

    pub async fn until_metric(&self, name: &str, value: f64) {
        let wait = async {
            while self.metric(name).await != value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} never was {value}"));
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let text = get(self.running.telemetry().unwrap(), "localhost", "/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

/// Requests without end; see [`Load::end`].
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    pub fn start(edge: &Edge, host: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (address, host) = (edge.http(), host.to_owned());
        let (stopped, counted) = (stop.clone(), done.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let response = get(address, &host, "/").await;
                if response.status != 200 {
                    failures.push(response.first_line);
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        Self { stop, done, task }
    }

    /// Waits for so many more requests.
    pub async fn pass(&self, requests: usize) {
        let until = self.done.load(Ordering::Relaxed) + requests;
        let wait = async {
            while self.done.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("requests are answered");
    }

    /// Every request that failed.
    pub async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A kubeconfig for a test's own server.
pub fn kubeconfig(server: &ApiServer) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{ name: test, cluster: {{ server: '{}' }} }}]\ncontexts: [{{ name: test, context: {{ cluster: test, user: test }} }}]\nusers: [{{ name: test, user: {{}} }}]\n",
        server.uri()
    )
}

/// The objects of manifests.
pub fn objects(manifests: &str) -> Vec<Value> {
    let text = format!("\n{manifests}");
    let documents = text.split("\n---\n").filter(|text| !text.trim().is_empty());
    documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

pub fn put(server: &ApiServer, manifests: &str) {
    objects(manifests).into_iter().for_each(|object| server.apply(object));
}

pub fn tls_route(name: &str, host: &str, secret: &str) -> String {
    ingress(name, host, &[("/", "a")]) + &format!("  tls: [ {{ hosts: [\"{host}\"], secretName: {secret} }} ]\n")
}
