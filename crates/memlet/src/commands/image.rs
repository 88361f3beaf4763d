//! `memlet image`: what is in the image store.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use memlet_runtime::images::{Image, ImageName, ImageStore, Progress};
use memlet_runtime::workload::Workload;
use serde_json::{Value, json};

use crate::cli::{Format, ImageArguments, ImageCommand};
use crate::embedded::images_folder;
use crate::exit::Exit;
use crate::rootless::{self, Needs};
use crate::say;

/// Imports, lists or removes images.
pub(crate) fn run(arguments: &ImageArguments) -> Result<Exit> {
    rootless::enter(Needs::Images)?;
    let store = ImageStore::open(&images_folder(&arguments.place.data))?;
    let text = match &arguments.command {
        ImageCommand::Import { file, tag } => import(&store, file, tag.as_deref())?,
        ImageCommand::Ls { output } => list(&store, *output)?,
        ImageCommand::Rm { image } => {
            if Workload::from_image(image).is_some() {
                bail!("{image} is built into this program, which cannot be without it");
            }
            store.remove(image)?;
            format!("removed {image}\n")
        }
    };
    say::print(&text)?;
    Ok(Exit::DONE)
}

fn import(store: &ImageStore, file: &Path, tag: Option<&str>) -> Result<String> {
    let tag = tag.map(str::parse::<ImageName>).transpose()?;
    let bar = progress_bar();
    let images = store.import(file, tag.as_ref(), &mut |progress| show(&bar, &progress))?;
    bar.finish_and_clear();
    Ok(images
        .iter()
        .map(|image| format!("imported {} ({}, {})\n", image.shown_as(), image.id.short(), image.size))
        .collect())
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Copying { copied } => {
            bar.set_message("reading the archive");
            bar.set_position(copied.get());
        }
        Progress::Shared { number, of, .. } => {
            bar.set_message(format!("layer {number} of {of} is here already"));
        }
        Progress::Unpacking { number, of, read, length, .. } => {
            bar.set_message(format!("unpacking layer {number} of {of}"));
            bar.set_length(length.get());
            bar.set_position(read.get());
        }
        Progress::Saving => bar.set_message("writing to disk"),
    }
}

fn list(store: &ImageStore, format: Format) -> Result<String> {
    let images = store.list()?;
    Ok(match format {
        Format::Text => table(&images),
        Format::Json => serde_json::to_string_pretty(&document(&images))? + "\n",
        Format::Yaml => serde_saphyr::to_string(&document(&images))?,
    })
}

fn document(images: &[Image]) -> Value {
    let built_in =
        Workload::ALL.into_iter().map(|workload| json!({"names": [workload.image()], "builtIn": true}));
    let stored = images.iter().map(|image| {
        json!({
            "names": image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "id": image.id.to_string(),
            "sizeBytes": image.size,
            "created": image.created,
            "builtIn": false,
        })
    });
    json!({"images": built_in.chain(stored).collect::<Vec<_>>()})
}

/// One line per name, as people look for names.
fn table(images: &[Image]) -> String {
    let mut rows = vec![["NAME", "ID", "SIZE", "CREATED"].map(str::to_owned)];
    for workload in Workload::ALL {
        rows.push([workload.image(), "built-in".to_owned(), "-".to_owned(), "-".to_owned()]);
    }
    for image in images {
        let created = image.created.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
        let names: Vec<_> = image.names.iter().map(ImageName::familiar).collect();
        let names = if names.is_empty() { vec!["<none>".to_owned()] } else { names };
        for name in names {
            rows.push([name, image.id.short(), image.size.to_string(), created.clone()]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, id, size) = (width(0), width(1), width(2));
    rows.iter()
        .map(|row| format!("{:name$}  {:id$}  {:>size$}  {}\n", row[0], row[1], row[2], row[3]))
        .collect()
}
