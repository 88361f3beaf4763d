//! Logs in, pages out: opens logs of any packing, feeds the reader, prints what it finds. Memory stays bounded however
//! long the logs are.

mod document; // JSON and YAML, written piece by piece
mod encoding; // gzip, zstd, xz, UTF-16
pub(crate) mod kernel; // this machine's own log
pub(crate) mod node; // a node
mod object; // by kind and name
mod pages; // text and Markdown
mod pending; // a Pod that waits for a node
pub(crate) mod pod; // a Pod of the node
mod progress; // how far the reading is
mod repeats; // the same report in several logs
mod session; // the run of one command
mod sink; // what was found, printed
mod source; // a log as a stream of pieces
mod tail; // a file that grows
mod utf16; // text out of Windows

pub(crate) use session::Session;
