//! The daemon on its own, the same as `vgw run`.

fn main() -> std::process::ExitCode {
    vgwd::command_line::main()
}
