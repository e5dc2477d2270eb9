//! `offload`: every room of the project behind one door.

mod course;
mod dataset;
mod grade;
mod image;
mod parity;
mod units;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Grades submissions of the course's assignment; stages datasets and images on many
/// hosts; runs tasks that survive `kill -9`.
#[derive(Parser)]
#[command(name = "offload", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Grade(grade::Arguments),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Parity(parity::Command),
    /// The grader's hand in a sandbox; it is of no use by hand.
    #[command(hide = true)]
    GradeAgent {
        settings: String,
    },
    /// What `./client` becomes where a dataset is staged.
    #[command(hide = true)]
    Client(dataset::Client),
    /// What a backend server becomes where a dataset is staged, or backends are checkpointed.
    #[command(hide = true)]
    Backend(course::Backend),
    Holder(course::Holding),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let program = match &command {
        Command::Client(_) => "client".to_owned(),
        Command::Backend(arguments) => arguments.program(),
        _ => "offload".to_owned(),
    };
    let done = match command {
        Command::Grade(arguments) => grade::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::GradeAgent { settings } => grade::agent(&settings).map(|()| ExitCode::SUCCESS),
        Command::Image(command) => image::run(&command),
        Command::Parity(command) => parity::run(command),
        Command::Client(arguments) => dataset::client(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Backend(arguments) => course::backend(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Holder(arguments) => course::holder(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{program}: {}", sentence(&error));
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
