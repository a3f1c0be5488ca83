//! Arguments → configuration → daemon → exit status.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use sessiond::cli::{self, Command, HELP, Source};
use sessiond::config::{Config, DEFAULT_PATH, EXAMPLE, LoadError};
use sessiond::{daemon, journal};

/// Something failed while running.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Err(error) => fail(WRONG, &format!("{error}\ntry: sessiond --help")),
        Ok(Command::Help) => print(HELP),
        Ok(Command::Version) => print(concat!("sessiond ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::PrintConfig) => print(EXAMPLE),
        Ok(Command::Check(source)) => match load(&source) {
            Err(error) => tell(WRONG, &error),
            Ok(config) => print(&summary(&config)),
        },
        Ok(Command::Run(source)) => match load(&source) {
            Err(error) => tell(WRONG, &error),
            Ok(config) => {
                journal::start();
                daemon::run(&config).map_or_else(
                    |error| fail(FAILED, &error.to_string()),
                    |()| ExitCode::SUCCESS,
                )
            }
        },
    }
}

fn load(source: &Source) -> Result<Config, LoadError> {
    match source {
        Source::File(path) => Config::load(path),
        Source::Default => match Config::load(Path::new(DEFAULT_PATH)) {
            Err(LoadError::Unreadable(_, cause)) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Config::example())
            }
            result => result,
        },
    }
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    let servers = count(config.servers.len(), "server");
    let services = count(config.services.len(), "service");
    let listeners = count(config.listeners.len(), "listener");
    format!("no fault: {servers}, {services}, {listeners}\n")
}

/// Prints what was asked for; a closed pipe is a failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// One line, after the program's name.
fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("sessiond: {message}");
    ExitCode::from(status)
}

/// The faults of a configuration stand for themselves.
fn tell(status: u8, error: &LoadError) -> ExitCode {
    match error {
        LoadError::Unreadable(..) => fail(status, &error.to_string()),
        LoadError::Faulty(faults) => {
            eprintln!("{faults}");
            ExitCode::from(status)
        }
    }
}
