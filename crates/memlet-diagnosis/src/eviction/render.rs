//! The verdict on an eviction as text for people.

use anstyle::AnsiColor;

use super::EvictionVerdict;
use crate::render::{Page, Style};

/// The headline, then a line or more per fact, and what to change. Ends with a newline.
pub fn text(verdict: &EvictionVerdict, style: Style) -> String {
    let mut page = Page::new(style);
    let name = if style.with_pod { format!("{}: ", verdict.pod.name) } else { String::new() };
    page.title(
        &format!("{name}{} ({})", verdict.headline, verdict.at.strftime("%Y-%m-%d %H:%M:%SZ")),
        AnsiColor::Red,
    );
    for fact in &verdict.facts {
        page.paragraph(fact.topic.label(), &fact.text);
    }
    page.remedy(&verdict.remedy);
    page.out
}
