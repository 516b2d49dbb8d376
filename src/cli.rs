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
    /// The conf file. Without one, the built-in demo.
    #[arg(long, global = true, env = "TIDEGATE_CONF", value_name = "FILE")]
    conf: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves (the default).
    Run,
    /// Reads everything and prints what is wrong with it. Exit 0: clean, 1: errors.
    Check {
        /// Warnings count as errors.
        #[arg(long)]
        deny_warnings: bool,
        /// Form of the output.
        #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
        output: TextOrJson,
    },
    /// Prints the routing table.
    Routes {
        /// Form of the output.
        #[arg(short, long, value_enum, default_value_t = TableForm::Table)]
        output: TableForm,
        /// Asks a running proxy instead of reading files: `http://127.0.0.1:10255`.
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
    },
    /// Says where a request would go, and why.
    Explain(ExplainArgs),
    /// Prints the certificates of a running proxy, and the hosts that they are shown for.
    Certs(InspectArgs),
    /// Prints the backends of a running proxy, their endpoints and the state of those.
    Backends(InspectArgs),
    /// Prints what a running proxy has to say about its input.
    Diagnostics(InspectArgs),
    /// Prints the least rights that the conf needs in a cluster, as manifests.
    Rbac {
        /// Who gets them: `namespace/name`.
        #[arg(long, value_name = "ACCOUNT", default_value = "tidegate/tidegate")]
        service_account: String,
    },
    /// Prints the JSON Schema of the conf file, or of a plugin's configuration.
    Schema {
        /// Name of a plugin.
        plugin: Option<String>,
    },
    /// Prints the version.
    Version,
    /// Prints a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// A question to a running proxy.
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = TableForm::Table)]
    output: TableForm,
    /// Its admin API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:10255")]
    admin: String,
}

/// The request that is to be explained.
#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// Method.
    method: String,
    /// URL: `https://shop.example/cart?x=1`.
    url: String,
    /// A header field, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from_ip: IpAddr,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    output: TextOrJson,
    /// Asks a running proxy instead of reading files: `http://127.0.0.1:10255`.
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
        "description": "Whether its answers end requests, or are only counted while requests go on.",
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
