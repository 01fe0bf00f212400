//! The snippets of `deploy/snippets` and `deploy/ansible`, each by the program that it is for, where Debian has it: the log has the messages that its README
//! shows. A file a kind of program.

mod ansible;
mod backups;
mod deployments;
mod disks;
mod hostile;
mod logins;
mod mail;
mod monitors;
mod scene;
