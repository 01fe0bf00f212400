//! Events on the way to the end of a command: the job waits for them, its outputs and the signals report them.

/// Events that the end of a command waits for.
pub(super) enum Event {
    /// One output was passed through to its end.
    Copied,
    /// tellhal got a signal to end.
    Signal,
}
