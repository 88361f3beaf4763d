//! The image store against real files, real overlay mounts and a real full disk.
//!
//! Unpacking changes owners and makes devices, so all of it needs root; without, each test says that it was
//! not run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests panic when something is wrong, and speak"
)]

#[path = "images/attacks.rs"]
mod attacks;
#[path = "images/broken.rs"]
mod broken;
#[path = "images/build.rs"]
mod build;
#[path = "images/formats.rs"]
mod formats;
#[path = "images/full_disk.rs"]
mod full_disk;
#[path = "images/layers.rs"]
mod layers;
#[path = "images/mounts.rs"]
mod mounts;
#[path = "images/sharing.rs"]
mod sharing;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test is a function that panics if something is wrong.
type Test = (&'static str, fn());

/// Names functions after themselves.
macro_rules! tests {
    ($module:ident: $($name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

fn main() -> ExitCode {
    // The test of a killed import starts this program once more.
    if let Some(arguments) = sharing::arguments_of_victim() {
        sharing::be_killed(&arguments);
    }
    let tests: Vec<Test> = [
        tests!(formats: oci_archive, oci_folder, docker_old, docker_new, compressed_archive, pipe,
            several_images, platforms, names_from_annotations, configuration, tag_replaces_names),
        tests!(layers: kinds_of_files, metadata, whiteouts, opaque_folders, whiteout_beside_its_name,
            later_entries_win, implied_folders, overlay_attributes_are_dropped, links_within_the_layer),
        tests!(attacks: dot_dot, absolute_paths, through_symbolic_links, through_relative_links,
            hard_links_to_outside, whiteouts_of_outside, replaced_folders, link_loops),
        tests!(broken: not_images, corrupted_layers, corrupted_documents, missing_layer, media_types,
            no_platform, wrong_diff_id, truncated_archive, layout_leading_outside),
        tests!(sharing: layers_are_shared, remove_keeps_shared_layers, names_move, finds_images, concurrent_imports,
            a_killed_import_leaves_nothing, a_running_import_is_left_alone, parents_matter),
        tests!(mounts: shows_the_image, upper_is_writable_and_removed, unmount_is_idempotent, many_layers,
            odd_folder_names, image_without_layers, root_owner, removed_while_mounted, busy_unmount),
        tests!(full_disk: leaves_nothing, out_of_inodes, full_while_copying),
    ]
    .concat();
    let root = rustix::process::geteuid().is_root();
    let trials = tests.into_iter().map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        if root { trial } else { trial.with_ignored_flag(true).with_kind("needs root") }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
