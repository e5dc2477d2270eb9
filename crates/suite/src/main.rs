//! `offload`: every room of the project behind one door.

mod grade;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Grades submissions of the course's assignment.
#[derive(Parser)]
#[command(name = "offload", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Grade(grade::Arguments),
    /// The grader's hand in a sandbox; it is of no use by hand.
    #[command(hide = true)]
    GradeAgent {
        settings: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Grade(arguments) => grade::run(&arguments),
        Command::GradeAgent { settings } => grade::agent(&settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("offload: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, those left out that it names itself.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !sentence.contains(&cause) {
            sentence += &format!(": {cause}");
        }
    }
    sentence
}
