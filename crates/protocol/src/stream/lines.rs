//! Whole lines out of a stream of bytes.

use crate::error::Refusal;

/// Cuts a stream of bytes, given in any portions, into whole lines.
///
/// A caller that takes all lines after each portion holds at most one line and one portion in
/// memory. Each byte is looked at once, however small the portions are.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the first line that was not given yet begins.
    start: usize,
    /// Up to here no newline stands after `start`.
    scanned: usize,
    /// Whether a line was over the limit: nothing after it can be trusted to be a line.
    broken: bool,
}

impl Lines {
    /// `limit`: the longest line, in bytes, without its newline.
    pub fn new(limit: usize) -> Self {
        Lines { limit, buffer: Vec::new(), start: 0, scanned: 0, broken: false }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        // What was given is dropped once it is the greater half, so that a byte moves at most
        // once on average.
        if self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its newline; `None` until its newline has come. Empty lines,
    /// which keep a waiting connection open, are passed over. Refuses a line over the limit, and
    /// everything after it.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        while !self.broken {
            let newline = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
            let end = newline.map_or(self.buffer.len(), |at| self.scanned + at);
            if end - self.start > self.limit {
                self.broken = true;
                self.buffer = Vec::new();
                (self.start, self.scanned) = (0, 0);
                break;
            }
            if newline.is_none() {
                self.scanned = end;
                return Ok(None);
            }
            let line = self.buffer[self.start..end].trim_ascii().to_vec();
            self.start = end + 1;
            self.scanned = self.start;
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        Err(Refusal::over_limit("line_bytes", self.limit))
    }

    /// Bytes of a line that has begun and has not ended. Exact once `next_line` gave `None`.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::RefusalKind;

    fn drain(lines: &mut Lines) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    #[test]
    fn a_line_comes_only_with_its_newline() {
        let mut lines = Lines::new(10);
        lines.push(b"one");
        assert_eq!(lines.next_line(), Ok(None));
        assert_eq!(lines.pending(), 3);
        lines.push(b"\ntwo\r\n\n\nthr");
        assert_eq!(drain(&mut lines), [b"one", b"two"]);
        assert_eq!(lines.pending(), 3);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_its_newline_comes_and_for_good() {
        for text in ["12345678901", "12345678901\n", "ok\n12345678901\nno\n"] {
            let mut lines = Lines::new(10);
            lines.push(text.as_bytes());
            let refusal = loop {
                match lines.next_line() {
                    Ok(line) => assert_eq!(line, Some(b"ok".to_vec())),
                    Err(refusal) => break refusal,
                }
            };
            assert_eq!(refusal.kind, RefusalKind::OverLimit);
            assert!(refusal.reason.contains("line_bytes = 10"), "{refusal}");
            lines.push(b"\nmore\n");
            assert_eq!(lines.next_line(), Err(refusal));
            assert_eq!(lines.pending(), 0);
        }
        let mut lines = Lines::new(10);
        lines.push(b"1234567890\n");
        assert_eq!(drain(&mut lines), [b"1234567890"]);
    }

    #[test]
    fn a_long_line_in_single_bytes_takes_linear_time_and_bounded_memory() {
        let mut lines = Lines::new(4 << 20);
        for _ in 0..3 {
            for _ in 0..1 << 20 {
                lines.push(b"x");
                assert_eq!(lines.next_line(), Ok(None));
            }
            lines.push(b"\n");
            assert_eq!(drain(&mut lines)[0].len(), 1 << 20);
        }
        assert!(lines.buffer.capacity() <= 4 << 20, "{}", lines.buffer.capacity());
    }

    proptest! {
        #[test]
        fn the_portions_make_no_difference(
            text in "[a-c \n]{0,200}", cuts in proptest::collection::vec(1..40usize, 0..40),
        ) {
            let (mut lines, mut found, mut rest) = (Lines::new(500), Vec::new(), text.as_bytes());
            for cut in cuts {
                let (portion, after) = rest.split_at(cut.min(rest.len()));
                lines.push(portion);
                found.extend(drain(&mut lines));
                rest = after;
            }
            lines.push(rest);
            found.extend(drain(&mut lines));
            let ended = text.rfind('\n').map_or("", |end| &text[..end]);
            let whole = ended.split('\n').map(str::trim).filter(|line| !line.is_empty());
            prop_assert_eq!(found, whole.map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }
}
