//! The paths of this user's files. Reads the environment and the file system; creates only the sticky
//! directory of all users' spools, and only as root.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The sticky directory with one spool for each user.
pub(crate) const ALL_SPOOLS: &str = "/var/spool/tellhal";

/// `$XDG_CONFIG_HOME`, or `~/.config`.
pub(crate) fn config_home() -> Option<PathBuf> {
    under("XDG_CONFIG_HOME", ".config")
}

/// The default spool, and the one for messages that it cannot take: `/var/spool/tellhal/<uid>` for root and where the package
/// has created that directory, in which any user may have taken that name; and `$XDG_STATE_HOME/tellhal/spool`.
pub(crate) fn spools() -> (Result<PathBuf, String>, Option<PathBuf>) {
    let uid = rustix::process::geteuid();
    let own = under("XDG_STATE_HOME", ".local/state").map(|state| state.join("tellhal/spool"));
    if uid.is_root() || Path::new(ALL_SPOOLS).is_dir() {
        return (Ok(Path::new(ALL_SPOOLS).join(uid.as_raw().to_string())), own);
    }
    let nowhere = || format!("there is no {ALL_SPOOLS} and no home directory; set TELLHAL_SPOOL to a folder");
    (own.ok_or_else(nowhere), None)
}

/// Creates the sticky directory as root, so that every user may have a spool in it.
pub(crate) fn prepare(spool: &Path) {
    let shared = Path::new(ALL_SPOOLS);
    if spool.parent() != Some(shared) || shared.exists() || !rustix::process::geteuid().is_root() {
        return;
    }
    // A failure here repeats, with its reason, when the spool itself is created.
    let made = std::fs::DirBuilder::new().mode(0o755).create(shared);
    let _ = made.and_then(|()| std::fs::set_permissions(shared, PermissionsExt::from_mode(0o1777)));
}

fn under(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let set = std::env::var_os(variable).map(PathBuf::from).and_then(absolute);
    set.or_else(|| std::env::home_dir().and_then(absolute).map(|home| home.join(below_home)))
}
