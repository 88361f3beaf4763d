//! `memlet top`: what nodes, Pods and containers use of their memory, once or again and again.

use std::io::{self, IsTerminal};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memlet_cgroup::Hierarchy;
use serde::Serialize;
use serde_json::json;

use crate::cli::{Format, TopArguments};
use crate::exit::Exit;
use crate::node::folder::DataFolder;
use crate::node::{client, running};
use crate::run::signals::Signals;
use crate::say::{self, Reader, print};
use crate::top::order_table::{self, Orders};
use crate::top::{gather, table};

/// Prints it.
pub(crate) fn run(arguments: &TopArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    running::require(&data)?;
    let hierarchy = Hierarchy::detect()?;
    client::block_on(&data, async |client| match arguments.watch {
        None => {
            let page = page(arguments, &data, &client, &hierarchy).await?;
            print(&page).map(|_| Exit::DONE)
        }
        Some(interval) => {
            let mut signals = Signals::new()?;
            let mut screen = Screen::new(arguments.output);
            loop {
                let page = page(arguments, &data, &client, &hierarchy).await?;
                if screen.show(&page)? == Reader::Gone {
                    return Ok(Exit::DONE);
                }
                tokio::select! {
                    // It was to go on until then.
                    _ = signals.next() => return Ok(Exit::DONE),
                    () = tokio::time::sleep(interval) => {}
                }
            }
        }
    })
}

/// What is so now, in the form that is wanted.
async fn page(
    arguments: &TopArguments,
    data: &DataFolder,
    client: &kube::Client,
    hierarchy: &Hierarchy,
) -> Result<String> {
    // Anew each time: nodes come and go.
    let node = running::require(data)?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items;
    let namespace = arguments.namespace.as_deref();
    let mut usage = gather::usage(&node, &pods, hierarchy)?;
    if arguments.oom_order {
        let orders: Vec<Orders> = usage.nodes.iter().map(|node| Orders::of(node, hierarchy)).collect();
        return match arguments.output {
            Format::Text => Ok(order_table::text(&orders, usize::MAX, say::columns())),
            format => written(&json!({"at": usage.at, "nodes": orders}), format),
        };
    }
    if arguments.output == Format::Text {
        return Ok(table::text(&usage, namespace));
    }
    for node in &mut usage.nodes {
        node.pods.retain(|pod| namespace.is_none_or(|namespace| pod.namespace == namespace));
    }
    written(&usage, arguments.output)
}

fn written(document: &impl Serialize, format: Format) -> Result<String> {
    Ok(match format {
        Format::Yaml => serde_saphyr::to_string(document)?,
        Format::Text | Format::Json => serde_json::to_string_pretty(document)? + "\n",
    })
}

/// Where pages are shown one after another: each in the place of the last on a terminal, below it elsewhere.
struct Screen {
    format: Format,
    redraws: bool,
    begun: bool,
}

impl Screen {
    fn new(format: Format) -> Self {
        let redraws = format == Format::Text && io::stdout().is_terminal() && say::has_cursor();
        Self { format, redraws, begun: false }
    }

    fn show(&mut self, page: &str) -> Result<Reader> {
        let apart = std::mem::replace(&mut self.begun, true);
        if self.redraws {
            let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
            let size = size.map(|size| (usize::from(size.ws_row), usize::from(size.ws_col)));
            return print(&redrawn(page, size.unwrap_or_default()));
        }
        let between = match (apart, self.format) {
            (true, Format::Text) => "\n",
            (_, Format::Yaml) => "---\n",
            _ => "",
        };
        print(&format!("{between}{page}"))
    }
}

/// The page from the screen's upper left corner on, over what was there; cut to the screen's rows and columns, as far as
/// those are known.
fn redrawn(page: &str, (rows, columns): (usize, usize)) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let room = if rows > 1 { rows - 1 } else { usize::MAX };
    let columns = if columns > 0 { columns } else { usize::MAX };
    let lines: Vec<&str> = page.lines().collect();
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut text = HOME.to_owned();
    for line in &lines[..shown] {
        text.extend(line.chars().take(columns));
        text.push_str(CLEAR_LINE);
        text.push('\n');
    }
    if shown < lines.len() {
        text.push_str(&format!("({} lines more){CLEAR_LINE}\n", lines.len() - shown));
    }
    text + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_over_the_last() {
        assert_eq!(redrawn("a\nb\n", (24, 80)), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redrawn("a\nb\nc\nd\n", (4, 80)), "\x1b[Ha\x1b[K\nb\x1b[K\n(2 lines more)\x1b[K\n\x1b[J");
        assert_eq!(redrawn("a\nb\nc\n", (4, 80)), redrawn("a\nb\nc\n", (0, 0)));
        assert_eq!(redrawn("abcd\n", (4, 2)), "\x1b[Hab\x1b[K\n\x1b[J");
    }
}
