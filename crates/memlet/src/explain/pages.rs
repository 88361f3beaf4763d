//! What was found as text or Markdown: one report whole, several as a summary, or each as it comes.

use memlet_diagnosis::log::{Explanation, Summary, markdown, text};
use memlet_diagnosis::render::Style;
use memlet_oomlog::{Report, UserspaceKill};

/// So many kills by daemons are shown at the end; more are counted.
const KILLS_SHOWN: usize = 20;

/// How pages are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paper {
    /// For a terminal or a file.
    Text(Style),
    /// To paste into an issue.
    Markdown,
}

/// The pages of one run. Each method answers what is to be printed.
pub(super) struct Pages {
    paper: Paper,
    top: usize,
    /// Each report is told whole, as soon as it is there.
    at_once: bool,
    summary: Summary,
    /// The page of the only report so far, not printed yet.
    only: Option<String>,
    kills: Vec<String>,
    kills_left_out: u64,
    /// Whether a page was printed already: then the next stands apart.
    begun: bool,
    /// Reports that the summary printed last knows.
    summed_up: u64,
}

impl Pages {
    pub(super) fn new(paper: Paper, top: usize, at_once: bool) -> Self {
        Self {
            paper,
            top,
            at_once,
            summary: Summary::default(),
            only: None,
            kills: Vec::new(),
            kills_left_out: 0,
            begun: false,
            summed_up: 0,
        }
    }

    pub(super) fn report(&mut self, report: &Report, explanation: &Explanation, file: &str) -> String {
        self.summary.add(report, explanation);
        if self.at_once || self.summary.reports == 1 {
            let page = match self.paper {
                Paper::Text(style) => text::report(report, explanation, Some(file), style, self.top),
                Paper::Markdown => markdown::report(report, explanation, Some(file), self.top),
            };
            if self.at_once {
                return self.apart(&page);
            }
            self.only = Some(page);
        } else {
            self.only = None;
        }
        String::new()
    }

    pub(super) fn userspace_kill(&mut self, kill: &UserspaceKill) -> String {
        let page = match self.paper {
            Paper::Text(style) => text::userspace_kill(kill, style),
            Paper::Markdown => markdown::userspace_kill(kill),
        };
        if self.at_once {
            return self.apart(&page);
        }
        if self.kills.len() < KILLS_SHOWN {
            self.kills.push(page);
        } else {
            self.kills_left_out += 1;
        }
        String::new()
    }

    /// Nothing came for a while, and more may come: what waited is printed, and from now on each report at once.
    pub(super) fn live(&mut self) -> String {
        if self.at_once {
            return String::new();
        }
        let waited = self.waiting();
        self.at_once = true;
        waited
    }

    /// The last that is printed.
    pub(super) fn end(&mut self) -> String {
        let mut out = self.waiting();
        if self.at_once && self.summary.reports > 1 && self.summed_up < self.summary.reports {
            out.push_str(&self.sum_up());
        }
        out
    }

    /// The only report, or the summary of several, and kills by daemons.
    fn waiting(&mut self) -> String {
        let mut out = String::new();
        if let Some(page) = self.only.take() {
            out.push_str(&self.apart(&page));
        } else if !self.at_once && self.summary.reports > 1 {
            out.push_str(&self.sum_up());
        }
        for page in std::mem::take(&mut self.kills) {
            out.push_str(&self.apart(&page));
        }
        if let more @ 1.. = std::mem::take(&mut self.kills_left_out) {
            out.push_str(&self.apart(&format!("and {more} more by daemons; --all shows each\n")));
        }
        out
    }

    fn sum_up(&mut self) -> String {
        self.summed_up = self.summary.reports;
        let page = match self.paper {
            Paper::Text(style) => text::summary(&self.summary, style),
            Paper::Markdown => markdown::summary(&self.summary),
        };
        self.apart(&page)
    }

    /// An empty line before each page but the first.
    fn apart(&mut self, page: &str) -> String {
        if std::mem::replace(&mut self.begun, true) { format!("\n{page}") } else { page.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use memlet_diagnosis::log::explain;

    use super::*;

    fn feed(pages: &mut Pages, reports: usize) -> String {
        let report = Report::default();
        (0..reports).map(|_| pages.report(&report, &explain(&report), "kern.log")).collect()
    }

    fn pages(at_once: bool) -> Pages {
        Pages::new(Paper::Text(Style::default()), 10, at_once)
    }

    #[test]
    fn one_is_told_whole_and_several_are_summed_up() {
        let mut one = pages(false);
        assert_eq!(feed(&mut one, 1), "");
        assert!(one.end().contains("kern.log"));
        let mut several = pages(false);
        assert_eq!(feed(&mut several, 3), "");
        let end = several.end();
        assert!(end.contains("3 reports") && !end.contains("kern.log"), "{end}");
        assert_eq!(pages(false).end(), "");
    }

    #[test]
    fn each_at_once_and_the_summary_last() {
        let mut all = pages(true);
        assert_eq!(feed(&mut all, 2).matches("kern.log").count(), 2);
        assert!(all.end().contains("2 reports"));
        let mut one = pages(true);
        feed(&mut one, 1);
        assert_eq!(one.end(), "");
    }

    #[test]
    fn silence_makes_it_live() {
        let mut live = pages(false);
        feed(&mut live, 2);
        assert!(live.live().contains("2 reports"));
        assert_eq!(live.live(), "");
        assert_eq!(feed(&mut live, 1).matches("kern.log").count(), 1);
        assert!(live.end().contains("3 reports"));
    }
}
