//! `caisson list`: every container, as a table, as JSON, or the ids alone. A damaged entry is shown, never fatal.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::store::{Entry, Listed, StoreError};
use crate::{live, report};

pub(super) const VERB: Verb = Verb::new("list", "List the containers", flags, run);

fn flags(command: Command) -> Command {
    command.args([
        cli::text("format", "FORMAT", "table or json").short('f').value_parser(["table", "json"]),
        cli::switch("quiet", "Print the ids alone").short('q'),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let entries = context.store.list()?;
    if matches.on("quiet") {
        let ids: String = entries.iter().map(|entry| format!("{}\n", entry.id())).collect();
        report::print(&ids)?;
        return Ok(0);
    }
    let listed: Vec<Listed> = entries.iter().filter_map(|entry| look_at(context, entry)).collect();
    if matches.text("format") == Some("json") {
        // runc prints one line, and `null` for none; an empty list is what a program expects.
        report::print(&format!("{}\n", serde_json::to_string(&listed)?))?;
    } else {
        report::print(&table(&listed))?;
    }
    Ok(0)
}

/// A container that vanished meanwhile is left out; one whose state cannot be read is shown as such.
fn look_at(context: &Context, entry: &Entry) -> Option<Listed> {
    match entry.load() {
        Ok(state) => {
            let status = live::status(&state, entry);
            let owner = live::user_name(state.owner_uid);
            Some(Listed::new(state, status, owner))
        }
        Err(StoreError::NotFound(_)) => None,
        Err(error) => {
            let under_way = matches!(error, StoreError::Incomplete { what: "is under way", .. });
            if !under_way {
                context.log.warn(format!("{:#}", anyhow::Error::new(error)));
            }
            let bundle = entry.intent().ok().flatten().map(|intent| intent.bundle).unwrap_or_default();
            let status = if under_way { "creating" } else { "unknown" };
            Some(Listed::damaged(entry.id().clone(), bundle, status))
        }
    }
}

/// Columns as wide as their widest cell, three spaces between: runc's table.
fn table(listed: &[Listed]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = listed.iter().map(|one| {
        let bundle = one.bundle.display().to_string();
        let pid = one.pid.to_string();
        [one.id.to_string(), pid, one.status.clone(), bundle, one.created.clone(), one.owner.clone()]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    rows.iter().fold(String::new(), |text, row| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text + cells.join("   ").trim_end() + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use caisson_plan::ids::ContainerId;

    #[test]
    fn table_aligns_columns() {
        let id = ContainerId::parse("a-long-id").unwrap();
        let listed = [Listed::damaged(id, "/b".into(), "unknown")];
        assert_eq!(
            table(&listed),
            "ID          PID   STATUS    BUNDLE   CREATED   OWNER\na-long-id   0     unknown   /b\n"
        );
    }
}
