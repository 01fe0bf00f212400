//! The last good version of every file, for the next start.
//!
//! At start a broken file of a folder is replaced by its last good version, so that one team's mistake
//! does not stop everyone's messages; if that does not help, the whole last good configuration is taken.
//! A configuration that is a single file has no fallback.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use tellhal::fingerprint::fingerprint;

use super::problem::{Level, Problem, Problems};
use super::values::default_state_dir;
use super::{Configuration, files};

/// Reads the configuration a service starts with, and keeps it for the next time. Broken files are replaced by their
/// last good versions, which is then among the warnings. A secret that cannot be read is an error.
pub fn start<C: Configuration>(path: &Path) -> Result<C, Problems> {
    let state_dir = default_state_dir(C::SERVICE, |name| std::env::var(name).ok());
    start_in(path, state_dir.as_deref())
}

/// [`start`], with the state folder for files that name none.
fn start_in<C: Configuration>(path: &Path, default_state_dir: Option<&Path>) -> Result<C, Problems> {
    let (texts, unreadable) = files::read_each(path)?;
    let named_state_dir = super::named_state_dir::<C>(&texts);
    let state_dir = named_state_dir.as_deref().or(default_state_dir);
    let problems = match C::from_texts(&texts) {
        Ok(config) if unreadable.0.is_empty() => {
            if let Some(state_dir) = state_dir {
                LastGood::of(path, state_dir).keep(&texts);
            }
            return config.ready();
        }
        Ok(_) => unreadable,
        // The text of an unreadable file is empty here, and an empty file is another problem.
        Err(refused) => {
            let files: Vec<PathBuf> = unreadable.0.iter().map(|problem| problem.file.clone()).collect();
            let others = refused.0.into_iter().filter(|problem| !files.contains(&problem.file));
            Problems::sorted(unreadable.0.into_iter().chain(others).collect())
        }
    };
    let Some(state_dir) = state_dir.filter(|_| path.is_dir()) else { return Err(problems) };
    let last_good = LastGood::of(path, state_dir);
    let in_force = last_good.replace::<C>(texts, &problems).or_else(|| last_good.whole::<C>(path));
    let Some((mut config, mut warnings)) = in_force else { return Err(problems) };
    warnings.extend(problems.0.into_iter().map(|problem| Problem { level: Level::Warning, ..problem }));
    warnings.append(config.warnings());
    *config.warnings() = Problems::sorted(warnings).0;
    config.ready()
}

/// The folder of the last good version of one configuration. Each path has a folder of its own, so that a demonstration
/// never starts with the rooms of production.
pub(super) struct LastGood(PathBuf);

impl LastGood {
    pub(super) fn of(path: &Path, state_dir: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        LastGood(state_dir.join("last-good").join(fingerprint(&[path.as_os_str().as_encoded_bytes()])))
    }

    #[cfg(test)]
    pub(super) fn folder(path: &Path, state_dir: &Path) -> PathBuf {
        LastGood::of(path, state_dir).0
    }

    /// Replaces broken files until the configuration is good: after one replacement another file may be wrong.
    fn replace<C: Configuration>(
        &self,
        mut texts: Vec<(PathBuf, String)>,
        problems: &Problems,
    ) -> Option<(C, Vec<Problem>)> {
        let mut warnings = Vec::new();
        let mut broken = broken_files(problems);
        let mut replaced = BTreeSet::new();
        loop {
            for file in broken {
                let last = std::fs::read_to_string(self.0.join(file.file_name()?)).ok()?;
                texts.iter_mut().find(|(name, _)| *name == file)?.1 = last;
                warnings.push(in_force::<C>(&file, "the file is broken: its last good version is in force"));
                // The last good version of this file is refused too.
                if !replaced.insert(file) {
                    return None;
                }
            }
            match C::from_texts(&texts) {
                Ok(config) => return Some((config, warnings)),
                Err(next) => broken = broken_files(&next),
            }
        }
    }

    /// The last good configuration as a whole.
    fn whole<C: Configuration>(&self, path: &Path) -> Option<(C, Vec<Problem>)> {
        let kept = files::read(&self.0).ok()?.into_iter();
        let texts: Option<Vec<_>> =
            kept.map(|(file, text)| Some((path.join(file.file_name()?), text))).collect();
        let what = "the files contradict each other: the last good version of the whole folder is in force";
        Some((C::from_texts(&texts?).ok()?, vec![in_force::<C>(path, what)]))
    }

    /// Keeps the texts of a good configuration. A failure is logged and does not stop the service.
    pub(super) fn keep(&self, texts: &[(PathBuf, String)]) {
        if let Err(error) = self.try_keep(texts) {
            tracing::warn!(folder = %self.0.display(), %error, "cannot keep the last good configuration");
        }
    }

    fn try_keep(&self, texts: &[(PathBuf, String)]) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let names: Vec<&OsStr> = texts.iter().filter_map(|(file, _)| file.file_name()).collect();
        for (name, (_, text)) in names.iter().zip(texts) {
            write_private(&self.0.join(name), text)?;
        }
        for kept in self.0.read_dir()? {
            let kept = kept?;
            if !names.contains(&kept.file_name().as_os_str()) {
                std::fs::remove_file(kept.path())?;
            }
        }
        Ok(())
    }
}

fn broken_files(problems: &Problems) -> BTreeSet<PathBuf> {
    let errors = problems.0.iter().filter(|problem| problem.level == Level::Error);
    errors.map(|problem| problem.file.clone()).collect()
}

fn in_force<C: Configuration>(file: &Path, what: &str) -> Problem {
    let problem = Problem::whole(file, what, format!("{} check prints the errors", C::SERVICE));
    Problem { level: Level::Warning, ..problem }
}

/// Readable by this user alone, since a configuration may hold secrets; whole or not at all.
fn write_private(target: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    if std::fs::read_to_string(target).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let new = target.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toy::Toy;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn team(name: &str) -> String {
        format!("[[teams]]\nname = \"{name}\"\nafter = \"page\"\n")
    }

    #[test]
    fn a_broken_team_file_falls_back_to_its_last_good_version() {
        let state = tempfile::tempdir().unwrap();
        let config = folder(&[("base.toml", "first = \"page\"\n"), ("dba.toml", &team("dba"))]);
        let write = |name: &str, text: &[u8]| std::fs::write(config.path().join(name), text).unwrap();
        let start = || start_in::<Toy>(config.path(), Some(state.path()));
        assert!(start().unwrap().warnings.is_empty());

        // The other team's good change is taken.
        write("dba.toml", team("dba2").replace("page", "nowhere").as_bytes());
        write("web.toml", team("web").as_bytes());
        let in_force = start().unwrap();
        assert_eq!(in_force.teams, ["dba", "web"]);
        let warnings = Problems(in_force.warnings).to_string();
        assert!(warnings.contains("dba.toml: warning: the file is broken"), "{warnings}");
        assert!(warnings.contains("there is no team nowhere"), "{warnings}");

        write("dba.toml", b"\xff\xfe");
        let in_force = start().unwrap();
        assert_eq!(in_force.teams, ["dba", "web"]);
        assert!(Problems(in_force.warnings).to_string().contains("line 1 is not UTF-8"));
    }

    #[test]
    fn a_folder_that_cannot_be_repaired_file_by_file_falls_back_as_a_whole() {
        let state = tempfile::tempdir().unwrap();
        let config = folder(&[("base.toml", "first = \"page\"\n"), ("dba.toml", &team("dba"))]);
        start_in::<Toy>(config.path(), Some(state.path())).unwrap();
        // The new file takes a name that the old one has, and comes before it.
        std::fs::write(config.path().join("all.toml"), team("dba")).unwrap();
        let in_force = start_in::<Toy>(config.path(), Some(state.path())).unwrap();
        assert_eq!(in_force.teams, ["dba"]);
        let warnings = Problems(in_force.warnings).to_string();
        assert!(warnings.contains("last good version of the whole folder"), "{warnings}");
        assert!(warnings.contains("team dba is defined twice"), "{warnings}");
    }

    #[test]
    fn one_file_and_another_folder_have_no_fallback() {
        let state = tempfile::tempdir().unwrap();
        let config = folder(&[("relay.toml", "first = \"page\"\n")]);
        let file = config.path().join("relay.toml");
        let start = |path: &Path| start_in::<Toy>(path, Some(state.path()));
        start(&file).unwrap();
        start(config.path()).unwrap();
        std::fs::write(&file, "first = \"pgae\"\n").unwrap();
        assert!(start(&file).unwrap_err().has_errors());
        let other = folder(&[("relay.toml", "first = \"pgae\"\n")]);
        assert!(start(other.path()).unwrap_err().has_errors());
        assert_eq!(start(config.path()).unwrap().first, "page");
    }

    #[test]
    fn kept_files_are_private_and_others_are_removed() {
        use std::os::unix::fs::PermissionsExt;
        let state = tempfile::tempdir().unwrap();
        let last_good = LastGood::of(Path::new("/nonexistent/conf"), state.path());
        last_good.keep(&[("a.toml".into(), "x = 1".into()), ("b.toml".into(), "y = 1".into())]);
        last_good.keep(&[("b.toml".into(), "y = 2".into())]);
        let kept: Vec<_> = last_good.0.read_dir().unwrap().map(|kept| kept.unwrap().path()).collect();
        assert_eq!(kept, [last_good.0.join("b.toml")]);
        assert_eq!(std::fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "y = 2");
    }
}
