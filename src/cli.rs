//! What was typed: arguments in, a [`Command`] out. It runs nothing.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::config::Role;
use crate::duration;
use crate::terminal::{Collection, Filter, Form, Lifetime, Order, Place, Selection};

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
       sessiond list [sessions|services|servers|listeners]
                [--state open|closed|any] [--filter FILTER]... [--sort KEYS]
                [--no-header] [--json]     what there is, a line each
       sessiond show [session|service|server|listener] NAME... [--json]
                                           all that is known of some
       sessiond top [--filter FILTER]... [--sort KEYS] [--interval TIME]
                                           sessions as they come and go
       sessiond kill ID... [--ttl TIME]    end sessions, at once or in that time
       sessiond --help | --version

FILE defaults to /etc/sessiond.cnf, and to the built-in example where that is
absent. Exit status: 0 after SIGTERM or SIGINT, 1 when something failed while
running, 2 for a wrong command line or configuration.

list, show, top and kill ask the sessiond that runs. It is found by
       --config FILE          its configuration: on the admin_socket, where that
                              may be used, or else at admin_host and admin_port
       --socket PATH          or else on that unix socket
       --address HOST:PORT    or else at that address
       --token-file FILE      where the token for the address is, unless the
                              environment has one: SESSIOND_TOKEN
A FILTER is PATH=EXPR as the API takes it, such as 'idle=gt(600)'; KEYS are
attributes, such as -idle,id; a TIME is 500ms, 30s, 5m or 1h. Exit status: 1
when nobody answers, or the answer is no.
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
    /// Ask the program that runs.
    Ask(Box<Order>, Reach),
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

/// How the program that runs is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where, if that was said.
    pub place: Option<Place>,
    /// The configuration that says it else.
    pub source: Source,
    /// A file with a token.
    pub token_file: Option<PathBuf>,
}

/// The shortest time between two looks of `top`: it is seen by somebody, and paid for
/// by the program that runs.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two looks of `top`, if none is given.
const INTERVAL: Duration = Duration::from_secs(2);

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
            Value(word) if command.is_none() => {
                let order = Verb::parse(&word).ok_or_else(|| Value(word).unexpected())?;
                return ask(&mut parser, order, source);
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

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    List,
    Show,
    Top,
    Kill,
}

impl Verb {
    fn parse(word: &OsStr) -> Option<Self> {
        match word.to_str()? {
            "list" => Some(Self::List),
            "show" => Some(Self::Show),
            "top" => Some(Self::Top),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// What was typed behind a verb, before it is one order.
#[derive(Default)]
struct Typed {
    words: Vec<String>,
    selection: Selection,
    has_state: bool,
    json: bool,
    no_header: bool,
    interval: Option<Duration>,
    ttl: Option<String>,
}

/// Reads what follows a verb.
fn ask(parser: &mut lexopt::Parser, verb: Verb, source: Source) -> Result<Command, lexopt::Error> {
    let mut reach = Reach {
        place: None,
        source,
        token_file: None,
    };
    let mut typed = Typed::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('c') | Long("config") => reach.source = Source::File(parser.value()?.into()),
            Long("socket" | "address") if reach.place.is_some() => {
                return Err("one --socket or --address is enough".into());
            }
            Long("socket") => reach.place = Some(Place::Socket(parser.value()?.into())),
            Long("address") => {
                let typed = text(parser)?;
                let place = Place::parse(&typed).ok_or_else(|| {
                    wrong("address", &typed, "must be HOST:PORT, such as [::1]:8989")
                })?;
                reach.place = Some(place);
            }
            Long("token-file") => reach.token_file = Some(parser.value()?.into()),
            Value(word) if verb != Verb::Top => typed.words.push(word.string()?),
            Long(name) => {
                let name = name.to_owned();
                option(parser, verb, &name, &mut typed)?;
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Ask(Box::new(typed.order(verb)?), reach))
}

/// Reads an option that belongs to some verbs alone.
fn option(
    parser: &mut lexopt::Parser,
    verb: Verb,
    name: &str,
    typed: &mut Typed,
) -> Result<(), lexopt::Error> {
    match (name, verb) {
        ("json", Verb::List | Verb::Show) => typed.json = true,
        ("no-header", Verb::List) => typed.no_header = true,
        ("state", Verb::List) => {
            let word = text(parser)?;
            typed.selection.lifetime = Lifetime::parse(&word)
                .ok_or_else(|| wrong(name, &word, "must be open, closed or any"))?;
            typed.has_state = true;
        }
        ("filter", Verb::List | Verb::Top) => {
            let word = text(parser)?;
            let filter = Filter::parse(&word)
                .ok_or_else(|| wrong(name, &word, "must be PATH=EXPR, such as 'idle=gt(600)'"))?;
            typed.selection.filters.push(filter);
        }
        ("sort", Verb::List | Verb::Top) => typed.selection.sort = Some(text(parser)?),
        ("interval", Verb::Top) => {
            let word = text(parser)?;
            let interval = time(name, &word)?;
            if interval < SHORTEST_INTERVAL {
                return Err(wrong(name, &word, "must be 100ms at least"));
            }
            typed.interval = Some(interval);
        }
        ("ttl", Verb::Kill) => {
            let word = text(parser)?;
            time(name, &word)?;
            typed.ttl = Some(word);
        }
        (name, _) => return Err(Long(name).unexpected()),
    }
    Ok(())
}

/// The value of an option.
fn text(parser: &mut lexopt::Parser) -> Result<String, lexopt::Error> {
    parser.value()?.string()
}

fn time(option: &str, word: &str) -> Result<Duration, lexopt::Error> {
    duration::parse(word).map_err(|must| wrong(option, word, must))
}

/// An option with a value that cannot be.
fn wrong(option: &str, word: &str, must: &str) -> lexopt::Error {
    format!("--{option} {word}: {must}").into()
}

impl Typed {
    fn order(mut self, verb: Verb) -> Result<Order, lexopt::Error> {
        let form = match (self.json, self.no_header) {
            (true, true) => return Err("--json and --no-header exclude each other".into()),
            (true, false) => Form::Json,
            (false, true) => Form::Plain,
            (false, false) => Form::Titled,
        };
        let kind = self.words.first().and_then(|word| Collection::parse(word));
        Ok(match verb {
            Verb::List => {
                let collection = match (&self.words[..], kind) {
                    ([], _) => Collection::Sessions,
                    ([_], Some(collection)) => collection,
                    ([.., word], _) => {
                        return Err(format!(
                            "list {word}: there are sessions, services, servers and listeners"
                        )
                        .into());
                    }
                };
                if self.has_state && collection != Collection::Sessions {
                    return Err("--state goes with sessions alone".into());
                }
                Order::List {
                    collection,
                    selection: self.selection,
                    form,
                }
            }
            Verb::Show => {
                if kind.is_some() {
                    self.words.remove(0);
                }
                if self.words.is_empty() {
                    return Err("show needs an id or a name: sessiond show ID".into());
                }
                let collection = kind.unwrap_or(Collection::Sessions);
                for word in &self.words {
                    named(collection, word)?;
                }
                Order::Show {
                    collection,
                    names: self.words,
                    form,
                }
            }
            Verb::Top => Order::Top {
                selection: self.selection,
                interval: self.interval.unwrap_or(INTERVAL),
            },
            Verb::Kill if self.words.is_empty() => {
                return Err("kill needs the id of a session: sessiond kill ID".into());
            }
            Verb::Kill => {
                for word in &self.words {
                    named(Collection::Sessions, word)?;
                }
                Order::Kill {
                    ids: self.words,
                    ttl: self.ttl,
                }
            }
        })
    }
}

/// Whether a word names one resource, and not what else is beside it in the API.
fn named(collection: Collection, word: &str) -> Result<(), lexopt::Error> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    if word.is_empty() || (collection == Collection::Sessions && !is_number) {
        return Err(match collection {
            Collection::Sessions => {
                format!("\"{word}\" is not the id of a session: ids are numbers")
            }
            _ => "a name is empty".to_owned(),
        }
        .into());
    }
    Ok(())
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

    /// What is asked, and how the program is found.
    fn asked(line: &str) -> (Order, Reach) {
        match parse(line) {
            Ok(Command::Ask(order, reach)) => (*order, reach),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_question_is_read_with_its_options() {
        let list = |collection, selection, form| Order::List {
            collection,
            selection,
            form,
        };
        let plain = || Selection::default();
        for (line, order) in [
            ("list", list(Collection::Sessions, plain(), Form::Titled)),
            (
                "list servers --json",
                list(Collection::Servers, plain(), Form::Json),
            ),
            (
                "list --state any --sort -idle --filter idle=gt(5) --no-header sessions",
                list(
                    Collection::Sessions,
                    Selection {
                        filters: vec![Filter::parse("idle=gt(5)").unwrap()],
                        sort: Some("-idle".to_owned()),
                        lifetime: Lifetime::Any,
                    },
                    Form::Plain,
                ),
            ),
            (
                "show 4 5",
                Order::Show {
                    collection: Collection::Sessions,
                    names: vec!["4".to_owned(), "5".to_owned()],
                    form: Form::Titled,
                },
            ),
            (
                "show service CLI --json",
                Order::Show {
                    collection: Collection::Services,
                    names: vec!["CLI".to_owned()],
                    form: Form::Json,
                },
            ),
            (
                "top --interval 500ms",
                Order::Top {
                    selection: plain(),
                    interval: Duration::from_millis(500),
                },
            ),
            (
                "kill 4 --ttl 5s 5",
                Order::Kill {
                    ids: vec!["4".to_owned(), "5".to_owned()],
                    ttl: Some("5s".to_owned()),
                },
            ),
        ] {
            assert_eq!(asked(line).0, order, "{line}");
        }
        assert_eq!(parse("list --help"), Ok(Command::Help));
    }

    #[test]
    fn the_program_that_runs_is_found_by_what_was_said() {
        assert_eq!(
            asked("--config x list").1,
            Reach {
                place: None,
                source: Source::File("x".into()),
                token_file: None,
            }
        );
        assert_eq!(asked("list -c x").1, asked("--config=x list").1);
        let socket = asked("kill 4 --socket /a").1.place;
        assert_eq!(socket, Some(Place::Socket("/a".into())));
        let reach = asked("top --address [::1]:80 --token-file t").1;
        assert_eq!(reach.place, Place::parse("[::1]:80"));
        assert_eq!(reach.token_file, Some("t".into()));
    }

    #[test]
    fn a_question_that_makes_no_sense_is_refused() {
        for line in [
            "list 4",
            "list sessions services",
            "list services --state any",
            "list --state all",
            "list --filter idle",
            "list --json --no-header",
            "list --ttl 5s",
            "list --interval 5s",
            "list --token secret",
            "show",
            "show service",
            "show 4 --no-header",
            "top 4",
            "top --json",
            "top --interval 99ms",
            "top --interval soon",
            "kill",
            "kill 4 --ttl soon",
            "kill 4 --json",
            "list --address localhost",
            "list --socket",
            "--check list",
            "x list",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
