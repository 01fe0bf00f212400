//! Reminders that people ask for in a chat. `asked` and `kept` are pure; `reminders` keeps them, says them and answers commands about
//! them.

mod asked;
mod kept;
pub(crate) mod reminders;
