//! The manual pages: one a verb, its options exactly those of the command line.
//!
//! `UPDATE_MAN=1 cargo test -p caisson --test man` rewrites the option lists.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use caisson::{cli, commands};

const BEGIN: &str = "## OPTIONS\n";

fn page(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man");
    dir.join(if name.is_empty() { "caisson.8.md".to_owned() } else { format!("caisson-{name}.8.md") })
}

/// The option list as the page should have it.
fn options(command: &clap::Command) -> String {
    let mut text = String::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
        let Some(long) = arg.get_long() else { continue };
        if long == "help" {
            continue;
        }
        let short = arg.get_short().map_or_else(String::new, |short| format!("**-{short}**, "));
        let names: Vec<String> =
            arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
        let value = match names.first().map(String::as_str) {
            None | Some("BOOL") => String::new(),
            Some(name) => format!(" _{name}_"),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("{short}**--{long}**{value}\n: {help}.\n\n"));
    }
    if text.is_empty() { "None.\n\n".to_owned() } else { text }
}

/// The page with its option list replaced.
fn with_options(page: &str, options: &str) -> String {
    let (head, tail) = page.split_once(BEGIN).unwrap_or((page, ""));
    let rest = tail.find("\n## ").map_or("", |at| &tail[at + 1..]);
    format!("{head}{BEGIN}\n{options}{rest}")
}

fn check(name: &str, command: &clap::Command) {
    let path = page(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let wanted = with_options(&text, &options(command));
    if std::env::var_os("UPDATE_MAN").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let now = fs::read_to_string(&path).unwrap();
    assert_eq!(now, wanted, "{}: run UPDATE_MAN=1 cargo test -p caisson --test man", path.display());
}

#[test]
fn every_verb_has_a_page_with_its_options() {
    let mut root = cli::command();
    root.build();
    for verb in commands::VERBS {
        check(verb.name, root.find_subcommand(verb.name).unwrap());
    }
}

#[test]
fn the_program_has_a_page_with_the_global_options_and_every_verb() {
    let mut root = cli::command();
    root.build();
    check("", &root);
    let text = fs::read_to_string(page("")).unwrap();
    for verb in commands::VERBS {
        assert!(text.contains(&format!("caisson-{}(8)", verb.name)), "{}", verb.name);
    }
}

#[test]
fn option_list_is_replaced_and_the_rest_kept() {
    let page = "# t\n\n## OPTIONS\n\nold\n\n## EXAMPLES\n\nx\n";
    assert_eq!(with_options(page, "new\n\n"), "# t\n\n## OPTIONS\n\nnew\n\n## EXAMPLES\n\nx\n");
}
