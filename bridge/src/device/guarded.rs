//! The call of a parser that others wrote on bytes that strangers sent: a panic in it costs one input its form, and no listener.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The parser's result; `None` if it panics.
pub(crate) fn guarded<T>(parse: impl FnOnce() -> T) -> Option<T> {
    // The parsers are functions of their input, so that nothing is left half changed.
    catch_unwind(AssertUnwindSafe(parse)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_result() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| [1][std::hint::black_box(1)]), None);
    }
}
