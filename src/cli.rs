//! The command line: what users type and what they see.
//!
//! Every command works offline on the conf file and its manifests; `routes` and `explain` also ask a running proxy
//! with `--admin`. Exit codes: 0 good, 1 the input has errors (or the question has no answer), 2 wrong usage.

mod check;
mod explain;
mod inspect;
mod kubectl;
mod rbac;
mod report;
mod routes;
mod run;
mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::app::Builder;
use crate::explain::QuestionError;
use inspect::Topic;

/// A programmable reverse proxy and Kubernetes ingress controller on Pingora.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, arg_required_else_help = false)]
struct Cli {
    /// Conf file. Without one, the built-in demo is served.
    #[arg(long, global = true, env = "TIDEGATE_CONF", value_name = "FILE")]
    conf: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the default).
    Run,
    /// Validate the conf and its sources, and print the findings. Exit code 0: no errors, 1: errors.
    Check {
        /// Treat warnings as errors.
        #[arg(long)]
        deny_warnings: bool,
        /// Output format.
        #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
        output: TextOrJson,
    },
    /// Print the routing table.
    Routes {
        /// Output format.
        #[arg(short, long, value_enum, default_value_t = TableForm::Table)]
        output: TableForm,
        /// Admin API of a running proxy to ask, instead of reading the conf: `http://127.0.0.1:10255`.
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
    },
    /// Explain how a request would be routed, and why.
    Explain(ExplainArgs),
    /// Print the certificates of a running proxy and the hosts they are presented for.
    Certs(InspectArgs),
    /// Print the backends of a running proxy with the state of their endpoints.
    Backends(InspectArgs),
    /// Print the findings of a running proxy about its configuration.
    Diagnostics(InspectArgs),
    /// Print the RBAC manifests with the least permissions that the conf needs in a cluster.
    Rbac {
        /// ServiceAccount that gets them: `namespace/name`.
        #[arg(long, value_name = "ACCOUNT", default_value = "tidegate/tidegate")]
        service_account: String,
    },
    /// Print the JSON Schema of the conf file, or of a plugin's configuration.
    Schema {
        /// Name of a plugin.
        plugin: Option<String>,
    },
    /// Print the version.
    Version,
    /// Print a shell completion script.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of commands that ask a running proxy.
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = TableForm::Table)]
    output: TableForm,
    /// Admin API of the running proxy.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:10255")]
    admin: String,
}

/// The request to explain.
#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// Method.
    method: String,
    /// URL: `https://shop.example/cart?x=1`.
    url: String,
    /// Request header, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Client address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from_ip: IpAddr,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    output: TextOrJson,
    /// Admin API of a running proxy to ask, instead of reading the conf: `http://127.0.0.1:10255`.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TextOrJson {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableForm {
    Table,
    Json,
    Yaml,
}

/// Exit code for a command line that cannot be understood, as `clap` has it.
const WRONG_USAGE: u8 = 2;

impl Builder {
    /// Reads the command line and does what it says; by default serves until told to stop.
    pub fn run(self) -> ExitCode {
        main(self)
    }
}

fn main(builder: Builder) -> ExitCode {
    if kubectl::is_meant() {
        return ended(kubectl::run(&builder));
    }
    let cli = Cli::parse();
    let conf = cli.conf;
    let done = match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(builder, conf.as_deref()),
        Command::Check { deny_warnings, output } => check::check(&builder, conf.as_deref(), deny_warnings, output),
        Command::Routes { output, admin } => routes::routes(&builder, conf.as_deref(), output, admin.as_deref()),
        Command::Explain(args) => explain::explain(&builder, conf.as_deref(), &args),
        Command::Certs(it) => inspect::inspect(Topic::Certificates, &it.admin, it.output),
        Command::Backends(it) => inspect::inspect(Topic::Backends, &it.admin, it.output),
        Command::Diagnostics(it) => inspect::inspect(Topic::Diagnostics, &it.admin, it.output),
        Command::Rbac { service_account } => rbac::rbac(conf.as_deref(), &service_account),
        Command::Schema { plugin } => schema(&builder, plugin.as_deref()),
        Command::Version => print(concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => completions(shell),
    };
    ended(done)
}

fn ended(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("tidegate: {error:#}");
        if error.is::<QuestionError>() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
    })
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    // Written at once: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

fn schema(builder: &Builder, plugin: Option<&str>) -> anyhow::Result<ExitCode> {
    let schema = match plugin {
        None => crate::settings::schema(),
        Some(name) => {
            let found = builder.registry().iter().find(|definition| definition.name == name);
            let names = || builder.registry().iter().map(|definition| definition.name).collect::<Vec<_>>().join(", ");
            let definition =
                found.ok_or_else(|| anyhow::anyhow!("no plugin is called `{name}` (there are: {})", names()))?;
            with_mode((definition.schema)().to_value())
        }
    };
    print(&format!("{schema:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds what belongs to every instance, whichever plugin it is of.
fn with_mode(mut schema: serde_json::Value) -> serde_json::Value {
    let mode = serde_json::json!({
        "description": "Whether its responses end requests (`enforce`), or are only counted (`report`).",
        "enum": ["enforce", "report"],
        "default": "enforce",
    });
    if let Some(fields) = schema.as_object_mut() {
        let properties = fields.entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("mode".to_owned(), mode);
        }
    }
    schema
}

/// Writes to standard output. That nobody reads on is no fault: `tidegate routes | head`.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

fn exit(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
