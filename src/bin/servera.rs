//! Backend-Server A (table 4): maps its shard and answers AWS by UDP.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("usage: ./serverA (no arguments)");
        return ExitCode::from(2);
    }
    match offload::io::backend_process("A") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serverA: {error}");
            ExitCode::FAILURE
        }
    }
}
