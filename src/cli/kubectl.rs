//! `kubectl tidegate …`: the same program under the name `kubectl-tidegate`. It asks the admin API of a Pod of the
//! controller, through `kubectl port-forward`, so that access is whatever `kubectl` has.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use super::inspect::Topic;
use super::{ExplainArgs, TableForm};
use crate::app::Builder;

/// Inspect tidegate in a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl tidegate", version)]
struct Cli {
    /// Namespace of the controller.
    #[arg(short, long, global = true, default_value = "tidegate")]
    namespace: String,
    /// Label selector of the controller's Pods.
    #[arg(
        short = 'l',
        long,
        global = true,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/component=controller"
    )]
    selector: String,
    /// Pod of the controller. Default: the first running one.
    #[arg(long, global = true)]
    pod: Option<String>,
    /// Port of the admin API in the Pod.
    #[arg(long, global = true, default_value_t = 10255)]
    admin_port: u16,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Kubeconfig file.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<String>,

    #[command(subcommand)]
    command: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Print the routing table.
    Routes(Form),
    /// Explain how a request would be routed, and why.
    Explain(ExplainArgs),
    /// Print the certificates and the hosts they are presented for.
    Certs(Form),
    /// Print the backends with the state of their endpoints.
    Backends(Form),
    /// Print the findings about the configuration.
    Diagnostics(Form),
}

#[derive(Debug, clap::Args)]
struct Form {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = TableForm::Table)]
    output: TableForm,
}

/// How long a port may take to be forwarded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the program was started as a plugin of kubectl.
pub(super) fn is_meant() -> bool {
    let name = std::env::args_os().next();
    let name = name.as_deref().map(std::path::Path::new).and_then(|path| path.file_stem()?.to_str());
    name.is_some_and(|name| name.starts_with("kubectl-tidegate") || name.starts_with("kubectl_tidegate"))
}

pub(super) fn run(builder: &Builder) -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let forward = Forward::start(&cli)?;
    let admin = forward.admin.as_str();
    match cli.command {
        Question::Routes(form) => super::routes::routes(builder, None, form.output, Some(admin)),
        Question::Explain(args) => {
            super::explain::explain(builder, None, &ExplainArgs { admin: Some(admin.to_owned()), ..args })
        }
        Question::Certs(form) => super::inspect::inspect(Topic::Certificates, admin, form.output),
        Question::Backends(form) => super::inspect::inspect(Topic::Backends, admin, form.output),
        Question::Diagnostics(form) => super::inspect::inspect(Topic::Diagnostics, admin, form.output),
    }
}

/// A forwarded port; it ends when this is dropped.
struct Forward {
    process: Child,
    admin: String,
}

// === impl Forward ===

impl Forward {
    fn start(cli: &Cli) -> anyhow::Result<Self> {
        let pod = match &cli.pod {
            Some(pod) => format!("pod/{pod}"),
            None => first_pod(cli)?,
        };
        let mut command = kubectl(cli);
        command.args(["port-forward", &pod, &format!(":{}", cli.admin_port)]).stdout(Stdio::piped());
        let mut process = command.spawn().context("kubectl cannot be started")?;
        let out = process.stdout.take();
        let mut forward = Self { process, admin: String::new() };
        forward.admin = format!("http://{}", forwarded(out).with_context(|| format!("no port-forward to {pod}"))?);
        Ok(forward)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// kubectl with what the user said about the cluster. Nothing goes through a shell.
fn kubectl(cli: &Cli) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["--namespace", &cli.namespace]);
    command.args(cli.context.iter().flat_map(|context| ["--context", context]));
    command.args(cli.kubeconfig.iter().flat_map(|file| ["--kubeconfig", file]));
    command
}

fn first_pod(cli: &Cli) -> anyhow::Result<String> {
    let mut command = kubectl(cli);
    command.args([
        "get",
        "pods",
        "--output=name",
        "--field-selector=status.phase=Running",
        "--selector",
        &cli.selector,
    ]);
    let found = command.stderr(Stdio::inherit()).output().context("kubectl cannot be started")?;
    if !found.status.success() {
        bail!("kubectl cannot list the Pods");
    }
    let names = String::from_utf8_lossy(&found.stdout);
    let first = names.lines().next().map(str::to_owned);
    first.with_context(|| format!("no Pod with the labels {} runs in namespace {}", cli.selector, cli.namespace))
}

/// Where the port is, as kubectl tells it: `Forwarding from 127.0.0.1:40123 -> 10255`.
fn forwarded(out: Option<std::process::ChildStdout>) -> anyhow::Result<String> {
    let out = out.context("kubectl has no output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some((address, _)) = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split_once(" -> ")) {
                // Nobody may wait any more.
                let _ = sender.send(address.to_owned());
            }
        }
    });
    receiver.recv_timeout(PATIENCE).context("kubectl does not forward the port")
}
