//! The command line; `vgw --help` tells what it does.

fn main() -> std::process::ExitCode {
    vgwd::cli::main()
}
