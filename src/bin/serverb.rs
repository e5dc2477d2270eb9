//! Backend-Server B (table 5): maps its shard and answers AWS by UDP.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("usage: ./serverB (no arguments)");
        return ExitCode::from(2);
    }
    match offload::io::backend_process("B") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serverB: {error}");
            ExitCode::FAILURE
        }
    }
}
