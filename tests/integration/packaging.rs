//! What comes with the program: manual pages, completions, and where they are
//! installed. None of it may say what the program does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sessiond::config::Config;

use super::support::Directory;
use super::support::daemon::{program, program_path};
use super::support::process::quietly;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/package")
}

/// What `--help` says: the commands, and all options.
fn help() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = quietly(program().arg("--help"));
    let usage = |line: &str| {
        let line = line.strip_prefix("usage:").unwrap_or(line);
        let word = line
            .trim_start()
            .strip_prefix("sessiond ")?
            .split(' ')
            .next()?;
        let is_usage = line.starts_with(' ') && word.bytes().all(|byte| byte.is_ascii_lowercase());
        is_usage.then(|| word.to_owned())
    };
    let commands = text.lines().filter_map(usage).collect();
    (commands, options_of(&text))
}

/// All words that are long options.
fn options_of(text: &str) -> BTreeSet<String> {
    let is_of_option = |c: char| c == '-' || c.is_ascii_lowercase();
    let words = text.split(|c| !is_of_option(c));
    let long = words.filter(|word| word.strip_prefix("--").is_some_and(|name| !name.is_empty()));
    long.map(str::to_owned).collect()
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_manual_pages_are_well_formed() {
    for page in ["sessiond.8", "sessiond.cnf.5"] {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-l"])
            .arg(package().join(page))
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80");
        let text = quietly(&mut man);
        assert!(text.lines().count() > 80, "{text}");
    }
}

#[test]
fn the_manual_page_has_the_options_and_commands_of_the_program() {
    let (commands, options) = help();
    assert!(commands.contains("token") && options.contains("--check"));
    let page = fs::read_to_string(package().join("sessiond.8")).unwrap();
    let items = |start: &str| -> Vec<String> {
        let items = page.lines().filter_map(|line| line.strip_prefix(".It "));
        let items = items.filter(|item| item.starts_with(start));
        items.map(str::to_owned).collect()
    };
    let documented = items("Fl ").join(" ").replace("Fl -", "--");
    assert_eq!(options_of(&documented), options);
    let after_cm = items("Cm ");
    let documented = after_cm.iter().filter_map(|item| item.split(' ').nth(1));
    assert_eq!(words(documented), commands);
}

/// A section of the manual page of the configuration, how the type is called
/// there, and what an object needs at least.
const SECTIONS: &[(&str, &str, &str)] = &[
    ("THE ADMIN SERVER", "maxscale", "admin_socket=/run/socket\n"),
    (
        "SERVERS",
        "server",
        "type=server\naddress=192.0.2.1\nport=1\n",
    ),
    ("SERVICES", "service", "type=service\nservers=server\n"),
    (
        "LISTENERS",
        "listener",
        "type=listener\nservice=service\nport=2\n",
    ),
];

/// A configuration in which one section has another line.
fn configuration(section: &str, line: &str) -> String {
    let sections = SECTIONS.iter().map(|(_, name, text)| {
        let line = if *name == section { line } else { "" };
        format!("[{name}]\n{text}{line}")
    });
    sections.collect()
}

#[test]
fn the_manual_page_of_the_configuration_has_all_parameters_and_their_defaults() {
    let page = fs::read_to_string(package().join("sessiond.cnf.5")).unwrap();
    let plain = Config::parse("plain", configuration("", "").as_bytes()).unwrap();
    for (heading, section, minimum) in SECTIONS {
        let begin = page.split(&format!(".Sh {heading}\n")).nth(1).unwrap();
        let text = begin.split(".Sh ").next().unwrap();
        let items = text.lines().filter_map(|line| line.strip_prefix(".It Cm "));
        let items: Vec<(&str, &str)> = items
            .map(|item| item.split_once(" Pq ").expect(item))
            .collect();

        // The program names all that there are when it is given another one.
        let faulty = configuration(section, "no_parameter=1\n");
        let fault = Config::parse("f", faulty.as_bytes())
            .unwrap_err()
            .to_string();
        let there_are = fault.split_once("(there are ").unwrap().1;
        let there_are = there_are.trim_end().trim_end_matches(')').split(", ");
        assert_eq!(
            words(items.iter().map(|(name, _)| *name)),
            words(there_are),
            "{section}"
        );

        for (name, default) in items {
            let set = format!("{name}=");
            let others = minimum.split_inclusive('\n');
            let without: String = others.filter(|line| !line.starts_with(&set)).collect();
            let text = configuration("", "").replace(minimum, &without);
            let parsed = Config::parse("f", text.as_bytes());
            match default.strip_prefix("Li ") {
                Some(default) => {
                    let text = configuration(section, &format!("{name}={default}\n"));
                    let with = Config::parse("f", text.as_bytes());
                    assert_eq!(with.expect(name), plain, "{name}={default}");
                }
                None if default == "required" => {
                    let fault = parsed.expect_err(name).to_string();
                    assert!(fault.contains(&format!("{name} is missing")), "{fault}");
                }
                // A listener's port is one of two.
                None if name == "port" => {}
                None => {
                    assert_eq!(default, "none", "{name}");
                    parsed.expect(name);
                }
            }
        }
    }
}

/// What a shell offers for a line that is being typed.
fn offered(shell: &str, line: &str) -> BTreeSet<String> {
    let directory = package().join("completions");
    let file = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(shell);
    match shell {
        "bash" => {
            let script = format!(
                "source {} && read -ra COMP_WORDS <<<\"$1\"; [[ $1 != *' ' ]] || COMP_WORDS+=(''); \
                 COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sessiond; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                file("sessiond.bash")
            );
            command.args(["--norc", "-c", &script, "bash", line]);
        }
        "zsh" => {
            command.args([
                "-f",
                concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/integration/support/complete.zsh"
                ),
            ]);
            command.arg(&directory).arg(line);
        }
        _ => {
            let script = format!("source {}; complete -C'{line}'", file("sessiond.fish"));
            command.args(["--no-config", "-c", &script]);
        }
    }
    // What a shell writes for itself goes elsewhere than home.
    let home = Directory::new();
    command.env("HOME", home.path()).env("TERM", "dumb");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"] {
        command.env_remove(name);
    }
    let text = quietly(&mut command);
    let first_words = text.lines().filter_map(|line| line.split('\t').next());
    words(first_words.filter(|word| !word.is_empty()))
}

#[test]
fn the_shells_offer_the_options_and_commands_of_the_program() {
    let (commands, options) = help();
    for shell in ["bash", "zsh", "fish"] {
        let lines = commands
            .iter()
            .map(|command| format!("sessiond {command} --"));
        let lines = lines.chain(["sessiond --".to_owned()]);
        let all: BTreeSet<String> = lines.flat_map(|line| offered(shell, &line)).collect();
        assert_eq!(all, options, "{shell}");
        let words = offered(shell, "sessiond ");
        let found: BTreeSet<_> = words
            .into_iter()
            .filter(|word| !word.starts_with('-'))
            .collect();
        assert_eq!(found, commands, "{shell}");
    }
}

#[test]
fn the_shells_offer_files_and_roles() {
    let directory = Directory::new();
    let file = directory.file("the.cnf", "").display().to_string();
    for shell in ["bash", "zsh", "fish"] {
        let typed = file.strip_suffix(".cnf").unwrap();
        let found = offered(shell, &format!("sessiond --config {typed}"));
        assert!(
            found.contains(&file) || found.contains("the.cnf"),
            "{shell}: {found:?}"
        );
        assert_eq!(
            offered(shell, "sessiond token ops --role "),
            words(["basic", "admin"]),
            "{shell}"
        );
    }
}

fn make(directory: &Directory, arguments: &[&str]) -> Output {
    let mut make = Command::new("make");
    make.args(["-s", "-C", env!("CARGO_MANIFEST_DIR")])
        .arg(format!("DESTDIR={}", directory.path().display()))
        .arg(format!("BINARY={}", program_path().display()))
        .args(arguments)
        .env_remove("MAKEFLAGS");
    make.output().expect("make")
}

fn files_below(directory: &Path) -> BTreeSet<String> {
    fn collect(root: &Path, directory: &Path, files: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap();
                files.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    let mut files = BTreeSet::new();
    collect(directory, directory, &mut files);
    files
}

#[test]
fn what_is_installed_can_be_removed_but_a_configuration_stays() {
    let directory = Directory::new();
    let install = make(&directory, &["install", "PREFIX=/opt/x"]);
    assert!(install.status.success(), "{install:?}");
    let files = words([
        "etc/sessiond.cnf",
        "opt/x/bin/sessiond",
        "opt/x/lib/systemd/system/sessiond.service",
        "opt/x/lib/sysusers.d/sessiond.conf",
        "opt/x/share/bash-completion/completions/sessiond",
        "opt/x/share/doc/sessiond/examples/sessiond.cnf",
        "opt/x/share/doc/sessiond/examples/sessiond.socket",
        "opt/x/share/fish/vendor_completions.d/sessiond.fish",
        "opt/x/share/man/man5/sessiond.cnf.5",
        "opt/x/share/man/man8/sessiond.8",
        "opt/x/share/zsh/site-functions/_sessiond",
    ]);
    assert_eq!(files_below(directory.path()), files);
    let unit = directory
        .path()
        .join("opt/x/lib/systemd/system/sessiond.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nExecStart=/opt/x/bin/sessiond ") && !unit.contains("/usr/bin"));
    let installed = directory.path().join("opt/x/bin/sessiond");
    let configuration = directory.path().join("etc/sessiond.cnf");
    let mut check = Command::new(installed);
    quietly(check.arg("--check").arg("--config").arg(&configuration));

    // As it came, it goes.
    assert!(
        make(&directory, &["uninstall", "PREFIX=/opt/x"])
            .status
            .success()
    );
    assert_eq!(files_below(directory.path()), BTreeSet::new());

    // Changed, it is neither overwritten nor removed.
    assert!(make(&directory, &["install"]).status.success());
    fs::write(&configuration, "[maxscale]\n").unwrap();
    assert!(make(&directory, &["install"]).status.success());
    assert!(make(&directory, &["uninstall"]).status.success());
    assert_eq!(files_below(directory.path()), words(["etc/sessiond.cnf"]));
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "[maxscale]\n");
}
