//! Arguments → configuration → daemon → exit status.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use sessiond::admin::StartError;
use sessiond::cli::{self, Command, HELP, Reach, Source};
use sessiond::config::{Account, Accounts, Config, DEFAULT_PATH, EXAMPLE, LoadError, Role};
use sessiond::daemon::{self, RunError};
use sessiond::journal;
use sessiond::terminal::{self, Order, Outcome, Place, Token};

/// Something failed while running.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Err(error) => {
            let status = fail(WRONG, &error.to_string());
            complain("try: sessiond --help\n");
            status
        }
        Ok(Command::Help) => print(HELP),
        Ok(Command::Version) => print(concat!("sessiond ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::PrintConfig) => print(EXAMPLE),
        Ok(Command::Token(name, role)) => token(&name, role),
        Ok(Command::Check(source)) => match check(&source) {
            Err(error) => tell(&error),
            Ok(summary) => print(&summary),
        },
        Ok(Command::Ask(order, reach)) => ask(&order, reach),
        Ok(Command::Run(source)) => match load(&source) {
            Err(error) => tell(&error),
            Ok(config) => run(config, &source),
        },
    }
}

fn run(config: Config, source: &Source) -> ExitCode {
    if let Err(error) = journal::start() {
        return fail(FAILED, &format!("cannot start the log's thread: {error}"));
    }
    let result = daemon::run(config, || load(source));
    journal::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Admin(StartError::Accounts(error))) => tell(&error),
        Err(error @ RunError::Inherited(_)) => fail(WRONG, &error.to_string()),
        Err(error) => fail(FAILED, &error.to_string()),
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

/// Asks the program that runs.
fn ask(order: &Order, reach: Reach) -> ExitCode {
    let place = match reach.place {
        Some(place) => Ok(place),
        None => match load(&reach.source) {
            Err(error) => {
                tell(&error);
                return fail(WRONG, "say by --socket or --address where sessiond listens");
            }
            Ok(config) => Place::configured(&config.admin),
        },
    };
    // A unix socket needs none.
    let token = match &place {
        Ok(Place::Socket(_)) => Ok(None),
        _ => Token::find(reach.token_file.as_deref()),
    };
    let Outcome { output, failure } = match (place, token) {
        (Ok(place), Ok(token)) => terminal::run(order, place, token),
        (Err(failure), _) | (_, Err(failure)) => Outcome::from(failure),
    };
    let printed = print(&output);
    let Some(failure) = failure else {
        return printed;
    };
    let status = if failure.is_of_usage() { WRONG } else { FAILED };
    for line in failure.to_string().lines() {
        fail(status, line);
    }
    ExitCode::from(status)
}

/// What a configuration has, where it and its accounts have no fault.
fn check(source: &Source) -> Result<String, LoadError> {
    let config = load(source)?;
    if let Some(path) = &config.admin.accounts {
        Accounts::load(path)?;
    }
    Ok(summary(&config))
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

/// Writes to standard error. Where that is closed, the exit status says enough.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// One line, after the program's name. It can end up in the log of a service manager.
fn fail(status: u8, message: &str) -> ExitCode {
    complain(&format!("sessiond: {}\n", journal::escaped(message)));
    ExitCode::from(status)
}

/// A file that is wrong; its faults stand for themselves.
fn tell(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Unreadable(..) | LoadError::WritableByOthers(_) => {
            fail(WRONG, &error.to_string())
        }
        LoadError::Faulty(faults) => {
            for fault in faults.to_string().lines() {
                complain(&format!("{}\n", journal::escaped(fault)));
            }
            ExitCode::from(WRONG)
        }
    }
}

/// Makes a token. It is seen now and never again: only its hash is kept.
fn token(name: &str, role: Role) -> ExitCode {
    let mut bits = [0; 16];
    if let Err(error) = getrandom::fill(&mut bits) {
        return fail(FAILED, &format!("no random bits can be had: {error}"));
    }
    let token = format!("{:032x}", u128::from_be_bytes(bits));
    match Account::new(name, role, &token) {
        Ok(account) => {
            complain(&format!("{token}\n"));
            print(&format!("{account}\n"))
        }
        Err(message) => fail(WRONG, &message),
    }
}
