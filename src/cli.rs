//! What was typed: arguments in, a [`Command`] out. It runs nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::config::Role;

/// What `--help` prints.
pub const HELP: &str = "\
sessiond routes client connections to servers and shows its live sessions.

usage: sessiond [--config FILE]            run
       sessiond --check [--config FILE]    check the configuration
       sessiond --print-config             print the built-in example
       sessiond token NAME [--role basic|admin]
                                           make a token for admin_accounts: the line
                                           for that file goes to standard output, the
                                           token itself to standard error, once
       sessiond --help | --version

FILE defaults to /etc/sessiond.cnf, and to the built-in example where that is
absent. Exit status: 0 after SIGTERM or SIGINT, 1 when something failed while
running, 2 for a wrong command line or configuration.
";

/// One way to use the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run on a configuration.
    Run(Source),
    /// Check a configuration.
    Check(Source),
    /// Print the built-in example.
    PrintConfig,
    /// Make a token for an account of that name; the role is `basic` if none is given.
    Token(String, Role),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file that was named.
    File(PathBuf),
    /// The default file, or the built-in example where that is absent.
    Default,
}

/// Reads the arguments that follow the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut source = Source::Default;
    let mut command: Option<Command> = None;
    while let Some(argument) = parser.next()? {
        let chosen = match argument {
            Value(word) if word == "token" && command.is_none() => {
                return token(&mut parser, &source);
            }
            Short('c') | Long("config") => {
                source = Source::File(parser.value()?.into());
                continue;
            }
            Long("check") => Command::Check(Source::Default),
            Long("print-config") => Command::PrintConfig,
            Short('h') | Long("help") => Command::Help,
            Short('V') | Long("version") => Command::Version,
            other => return Err(other.unexpected()),
        };
        if command.replace(chosen).is_some() {
            return Err("--check, --print-config, --help and --version exclude each other".into());
        }
    }
    match (command, source) {
        (None, source) => Ok(Command::Run(source)),
        (Some(Command::Check(_)), source) => Ok(Command::Check(source)),
        (Some(command), Source::Default) => Ok(command),
        (Some(_), Source::File(_)) => Err("--config goes with --check, or alone".into()),
    }
}

/// Reads what follows `token`.
fn token(parser: &mut lexopt::Parser, source: &Source) -> Result<Command, lexopt::Error> {
    if *source != Source::Default {
        return Err("--config does not go with token".into());
    }
    let mut name = None;
    let mut role = Role::Basic;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("role") => {
                let word = parser.value()?.string()?;
                role = Role::parse(&word)
                    .ok_or_else(|| format!("--role {word}: a role is basic or admin"))?;
            }
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let name = name.ok_or("token needs the name of an account: sessiond token NAME")?;
    Ok(Command::Token(name, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        super::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_use_has_its_command() {
        let file = || Source::File("x".into());
        assert_eq!(parse(""), Ok(Command::Run(Source::Default)));
        assert_eq!(parse("--config x"), Ok(Command::Run(file())));
        assert_eq!(parse("--config=x --check"), Ok(Command::Check(file())));
        assert_eq!(parse("--check"), Ok(Command::Check(Source::Default)));
        assert_eq!(parse("--print-config"), Ok(Command::PrintConfig));
        assert_eq!(
            parse("token ops"),
            Ok(Command::Token("ops".into(), Role::Basic))
        );
        assert_eq!(
            parse("token --role admin ops"),
            Ok(Command::Token("ops".into(), Role::Admin))
        );
        assert_eq!(parse("--help"), Ok(Command::Help));
        assert_eq!(parse("-V"), Ok(Command::Version));
    }

    #[test]
    fn a_wrong_command_line_is_refused_by_name() {
        assert_eq!(parse("--chek"), Err("invalid option '--chek'".to_owned()));
        assert_eq!(parse("x"), Err("unexpected argument \"x\"".to_owned()));
        for line in [
            "token",
            "token a b",
            "token a --role",
            "token a --role root",
            "--config x token a",
            "--check token a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--config").is_err());
        assert!(parse("--check --help").is_err());
        assert!(parse("--help --config x").is_err());
    }
}
