//! The daemon on its own, the same as `vgw run`.

fn main() -> std::process::ExitCode {
    vgwd::cli::daemon_main()
}
