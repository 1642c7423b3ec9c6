use std::{cmp::Reverse, ops::Range};

/// Changes of a text, applied at once.
pub(super) struct Edits<'a> {
    text: &'a str,
    all: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, all: Vec::new() }
    }

    /// Puts a text in place of what is there.
    pub(super) fn replace(&mut self, range: Range<usize>, with: String) {
        self.all.push((range, with));
    }

    /// Puts a text before what begins at `position`.
    pub(super) fn insert(&mut self, position: usize, text: &str) {
        self.all.push((position..position, text.to_owned()));
    }

    /// Takes a part away, and the blanks before it.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        let before = self.text.get(..range.start).map_or(range.start, |before| before.trim_end().len());
        self.all.push((before..range.end, String::new()));
    }

    /// The text with all of it. What is inside of a part that is changed as a whole is not changed by itself.
    pub(super) fn finish(mut self) -> String {
        self.all.sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
        let mut out = String::with_capacity(self.text.len());
        let mut end = 0;
        for (range, with) in &self.all {
            if range.start < end {
                continue;
            }
            out.push_str(self.text.get(end..range.start).unwrap_or_default());
            out.push_str(with);
            end = range.end;
        }
        out.push_str(self.text.get(end..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_change_wins() {
        let text = "<a>\n  <b><c/></b>\n  <d x='1'/>\n</a>";
        let at = |part: &str| text.find(part).map(|start| start..start + part.len()).unwrap();
        let mut edits = Edits::of(text);
        edits.replace(at("<c/>"), "lost".to_owned());
        edits.remove(at("<b><c/></b>"));
        edits.replace(at("1"), "2".to_owned());
        edits.insert(at("</a>").start, "<e/>");
        assert_eq!(edits.finish(), "<a>\n  <d x='2'/>\n<e/></a>");
        assert_eq!(Edits::of(text).finish(), text);
    }
}
