//! Backend-Server C (table 6): maps its shard and answers AWS by UDP.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("usage: ./serverC (no arguments)");
        return ExitCode::from(2);
    }
    match offload::io::backend_process("C") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serverC: {error}");
            ExitCode::FAILURE
        }
    }
}
