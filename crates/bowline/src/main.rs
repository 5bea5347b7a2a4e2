//! `bowline`: the broker and its clients in one binary.

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

mod config;
mod definitions;
mod inspect;
mod issuer;
mod login;
mod serve;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The message broker that holds: RabbitMQ and Kafka clients over one durable log.
#[derive(Parser)]
#[command(name = "bowline", version, about, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bowline serve                                      a durable broker on localhost, data in ./bowline-data
  bowline publish amqp://localhost/ -q test 'hello'  a message to queue `test`
  bowline consume amqp://localhost/ -q test          and back
  bowline peek amqp://localhost/ -q test             what lies in the queue?
  bowline redrive amqp://localhost/ -q dead          dead letters go back to where they died
  bowline story amqp://localhost/ --from story --message-id 7   what happened to it?
  bowline verify --kills 20                          attack a broker of its own and count what was lost
  bowline bench --workload W1                        how fast is it here?
  bowline inspect ./bowline-data                     what lies in a data directory, and is it whole?";

#[derive(Subcommand)]
enum Command {
    /// Run the broker.
    Serve(Box<config::ServeArgs>),
    /// Publish messages over AMQP or Kafka.
    Publish(bowline_cli::publish::Args),
    /// Consume messages over AMQP or Kafka.
    Consume(bowline_cli::consume::Args),
    /// Look at what lies in a queue, without taking any of it.
    Peek(bowline_cli::peek::Args),
    /// Move messages out of a dead-letter queue, back to where they died or elsewhere.
    Redrive(bowline_cli::redrive::Args),
    /// Print what happened to messages of a queue that has a trace exchange.
    Story(bowline_cli::story::Args),
    /// Measure a broker: rates, latencies, CPU, memory, bytes written.
    Bench(Box<bowline_bench::Args>),
    /// Attack a broker under load and report what was confirmed and lost.
    Verify(bowline_verify::Args),
    /// Take over vhosts, users, policies, queues, exchanges and bindings from RabbitMQ's definitions, offline.
    Import(definitions::ImportArgs),
    /// Write the definitions of a stopped node as RabbitMQ's JSON.
    Export(definitions::ExportArgs),
    /// Read a data directory offline and say what is in it and what is damaged.
    Inspect(inspect::Args),
    /// Print a completion script for your shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff).
    Man,
}

/// Milliseconds after which freed memory goes back to the operating system. The allocator's default, a second, is
/// hundreds of megabytes at the rate at which blocks come and go under load.
const PURGE_DELAY_MS: i64 = 10;
/// `mi_option_purge_delay`.
const PURGE_DELAY_OPTION: i32 = 15;

fn main() -> ExitCode {
    // SAFETY: sets an integer option of the allocator that this binary links; no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY_MS) };
    // With 2 MiB pages a handful of small allocations per thread is tens of megabytes, and what is given back in small
    // pieces is not given back at all. Where the kernel does not know the call, it costs memory, nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Errors that only pass on what they wrap would say it twice.
            let mut told = Vec::<String>::new();
            for cause in error.chain().map(ToString::to_string) {
                if !told.iter().any(|earlier| earlier.contains(&cause)) {
                    told.push(cause);
                }
            }
            eprintln!("bowline: {}", told.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Publish(args) => bowline_cli::publish::run(args),
        Command::Consume(args) => bowline_cli::consume::run(args),
        Command::Peek(args) => bowline_cli::peek::run(args),
        Command::Redrive(args) => bowline_cli::redrive::run(args),
        Command::Story(args) => bowline_cli::story::run(args),
        Command::Bench(args) => bowline_bench::run(*args),
        Command::Verify(args) => bowline_verify::run(args),
        Command::Import(args) => definitions::import(args),
        Command::Export(args) => definitions::export(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "bowline", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
