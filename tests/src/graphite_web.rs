//! A real Graphite: graphite-web in a process of its own, over whisper files that the test writes.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::find;
use crate::ports::Port;
use crate::process::Process;

/// Writes points into a whisper file: path, then age in seconds and value of each point.
const WRITE: &str = "
import os, sys, time, whisper
path, points = sys.argv[1], [tuple(map(float, point.split('='))) for point in sys.argv[2:]]
os.makedirs(os.path.dirname(path), exist_ok=True)
if not os.path.exists(path):
    whisper.create(path, [(1, 600)])
now = int(time.time())
whisper.update_many(path, [(now - age, value) for age, value in points])
";

/// A running graphite-web; killed when dropped.
#[derive(Debug)]
pub struct GraphiteWeb {
    // The first field, so that the process ends before its folder is removed.
    _process: Process,
    dir: TempDir,
    port: Port,
}

impl GraphiteWeb {
    pub async fn start() -> GraphiteWeb {
        let (dir, port) = (TempDir::new().expect("a folder for Graphite"), Port::free());
        for folder in ["conf", "storage/whisper", "storage/log"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("a folder of Graphite's");
        }
        std::fs::write(dir.path().join("conf/local_settings.py"), settings(dir.path()))
            .expect("the settings");
        let made = django(dir.path()).args(["migrate", "--run-syncdb", "-v", "0"]).output();
        let made = made.expect("Python starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut command = django(dir.path());
        command.args(["runserver", "--noreload", "--insecure"]).arg(port.addr().to_string());
        let mut process = Process::start("graphite-web", &mut command, &dir.path().join("log"));
        let addr = port.addr();
        let answers = async || crate::http::get(addr, "/render?format=json").await.is_ok();
        process.ready("it answers", answers).await;
        GraphiteWeb { _process: process, dir, port }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.addr())
    }

    /// Writes points of a series: the age of each in seconds, and its value.
    pub fn write(&self, series: &str, points: &[(u32, f64)]) {
        let file =
            self.dir.path().join("storage/whisper").join(series.replace('.', "/")).with_extension("wsp");
        let mut command = Command::new(find::in_venv("graphite", "python3"));
        command
            .args(["-c", WRITE])
            .arg(file)
            .args(points.iter().map(|(age, value)| format!("{age}={value}")));
        assert!(command.status().expect("Python starts").success(), "whisper takes the points");
    }
}

fn django(dir: &Path) -> Command {
    let mut command = Command::new(find::in_venv("graphite", "python3"));
    command.args(["-m", "django"]).env("PYTHONPATH", dir.join("conf"));
    command
        .env("DJANGO_SETTINGS_MODULE", "graphite.settings")
        .env("GRAPHITE_SETTINGS_MODULE", "local_settings");
    command
}

fn settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "SECRET_KEY = 'test'; ALLOWED_HOSTS = ['*']; TIME_ZONE = 'UTC'; CARBONLINK_HOSTS = []
STORAGE_DIR = '{dir}/storage'; WHISPER_DIR = '{dir}/storage/whisper'; LOG_DIR = '{dir}/storage/log'
CONF_DIR = '{dir}/conf'; INDEX_FILE = '{dir}/storage/index'
LOG_FILE_INFO = LOG_FILE_EXCEPTION = LOG_FILE_CACHE = LOG_FILE_RENDERING = '-'
DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': '{dir}/storage/graphite.db'}}}}
"
    )
}
