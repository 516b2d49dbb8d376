//! Secrets of a server that cannot be read: what is told of them, and what never is.

use serde_json::json;
use tempfile::TempDir;

use crate::edge::{kubeconfig, objects, tls_route};
use crate::server::ApiServer;

/// The client library prints an answer that it cannot read; the process's log does not pass that on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_the_server_that_cannot_be_read_is_told_without_its_contents() {
    let server = ApiServer::start().await;
    objects(&tls_route("a", "a.test", "cert")).into_iter().for_each(|object| server.apply(object));
    server.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": "hunter2",
        "metadata": { "namespace": "default", "name": "cert", "uid": "cert" },
    }));
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("kube.yaml"), kubeconfig(&server)).unwrap();
    let file = folder.path().join("t.yaml");
    std::fs::write(&file, "sources: { kubernetes: { kubeconfig: kube.yaml } }\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("check").arg("--conf").arg(&file).env("TIDEGATE_LOG", "trace");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("SecretUnavailable") && told.contains("the response cannot be read"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
