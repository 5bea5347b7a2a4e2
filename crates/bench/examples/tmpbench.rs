use clap::Parser;
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: bowline_bench::Args,
}
fn main() -> anyhow::Result<std::process::ExitCode> {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|w| w == "bench") {
        words.remove(1);
    }
    bowline_bench::run(Cli::parse_from(words).args)
}
