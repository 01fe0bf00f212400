//! `tellhal run`: the command and its caller notice no difference, whatever the command or the server do.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::{Place, ended, feed, line, status, stderr, stdout};

#[test]
fn the_commands_status_is_ours() {
    let place = Place::new();
    std::fs::write(place.path("plain"), "no program").unwrap();
    let plain = place.path("plain");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["true"], 0, "succeeded"),
        (&["sh", "-c", "exit 3"], 3, "failed with status 3"),
        (&["sh", "-c", "kill -9 $$"], 128 + 9, "was ended by signal 9"),
        (&["sh", "-c", "trap '' TERM; kill $$; exit 7"], 7, "failed with status 7"),
        (&["/none/such"], 127, "could not be run"),
        (&[plain.to_str().unwrap()], 126, "could not be run"),
    ];
    for (command, want, title) in cases {
        let before = place.bodies().len();
        let (status, stderr) = ended(place.tellhal(&["run", "-t", "job", "--"]).args(command));
        assert_eq!(status, want, "{command:?}: {stderr}");
        let bodies = place.bodies().split_off(before);
        let last = bodies.last().unwrap();
        assert!(last["title"].as_str().unwrap().contains(title), "{last}");
        assert_eq!(last["status"], if want == 0 { "succeeded" } else { "failed" });
        assert_eq!(last["severity"], if want == 0 { "info" } else { "error" });
        assert_eq!(last["key"], "job");
        if !(126..=127).contains(&want) {
            assert_eq!(bodies[0]["status"], "started");
            assert_eq!(bodies.len(), 2);
            assert!(last["run"]["duration"].as_f64().unwrap() > 0.0);
        }
    }
    assert!(!place.spool().exists(), "everything was acknowledged");
}

#[test]
fn streams_pass_through_and_their_last_lines_are_sent_without_the_arguments() {
    let place = Place::new();
    let script = "cat; echo to stderr >&2; for i in $(seq 100); do echo line $i; done; : --password=s3cret";
    let output = feed(
        &mut place.tellhal(&["run", "-t", "job", "--output", "--lines", "3", "--", "sh", "-c", script]),
        b"from stdin\n",
    );
    assert_eq!(status(&output), 0);
    assert!(stdout(&output).starts_with("from stdin\nline 1\n") && stdout(&output).ends_with("line 100\n"));
    assert_eq!(stderr(&output), "to stderr\n");
    let body = &place.bodies()[1];
    let text = body["text"].as_str().unwrap();
    // The two streams are read side by side, so the line of the other one may come last.
    let lines: Vec<&str> = text.lines().filter(|line| *line != "to stderr").collect();
    assert!(lines[0].starts_with("[… ") && lines.ends_with(&["line 99", "line 100"]), "{text}");
    assert!(body["run"]["cut"].as_u64().unwrap() > 500);
    assert!(!body.to_string().contains("s3cret"));
}

#[test]
fn one_file_for_both_keeps_their_order_and_a_file_of_its_own_is_left_alone() {
    let place = Place::new();
    let both = "$TELLHAL run -t job -- sh -c 'for i in 1 2 3; do echo out $i; echo err $i >&2; done' >both 2>&1; cat both";
    let output = place.shell(both).current_dir(place.dir.path()).output().unwrap();
    let want = "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3";
    assert_eq!(stdout(&output).trim_end(), want);
    assert_eq!(place.bodies()[1]["text"], want);
    let data = "$TELLHAL run -t dump -- sh -c 'echo secret rows; echo warning >&2; test -f /proc/self/fd/1' >data 2>/dev/null";
    assert_eq!(ended(place.shell(data).current_dir(place.dir.path())).0, 0);
    assert_eq!(place.bodies()[3]["text"], "warning");
}

#[test]
fn a_pipe_of_its_own_is_data_unless_it_is_asked_for() {
    let place = Place::new();
    let job = "sh -c 'echo dumping >&2; echo secret rows; test -p /proc/self/fd/1'";
    for (option, want) in [("", "dumping"), ("--output", "secret rows")] {
        let before = place.bodies().len();
        let dump = format!("$TELLHAL run -t dump {option} -- {job} 2>err | cat; cat err");
        let output = place.shell(&dump).current_dir(place.dir.path()).output().unwrap();
        assert_eq!(stdout(&output), "secret rows\ndumping\n");
        let text = place.bodies()[before + 1]["text"].as_str().unwrap().to_owned();
        assert!(text.contains(want) && text.contains("secret rows") != option.is_empty(), "{text}");
    }
    // One pipe for both, as cron has it, is captured.
    let cron = "$TELLHAL run -t cron -- sh -c 'echo out; echo err >&2' 2>&1 | cat";
    assert_eq!(stdout(&place.shell(cron).output().unwrap()), "out\nerr\n");
    assert_eq!(place.bodies().last().unwrap()["text"], "out\nerr");
    assert_eq!(ended(&mut place.tellhal(&["run", "-t", "a", "--output", "--no-output", "--", "true"])).0, 64);
}

#[test]
fn options_limit_what_is_sent() {
    let place = Place::new();
    let run = |args: &[&str]| ended(place.tellhal(&["run", "-t", "job"]).args(args)).0;
    assert_eq!(run(&["--on-failure-only", "--", "true"]), 0);
    assert!(place.bodies().is_empty());
    assert_eq!(
        run(&[
            "--on-failure-only",
            "--no-output",
            "--key",
            "k",
            "-s",
            "critical",
            "--",
            "sh",
            "-c",
            "echo x; exit 1"
        ]),
        1
    );
    let bodies = place.bodies();
    assert_eq!(bodies.len(), 1);
    assert_eq!(
        (&bodies[0]["text"], &bodies[0]["key"], &bodies[0]["severity"]),
        (&"".into(), &"k".into(), &"critical".into())
    );
}

#[test]
fn a_terminal_stays_the_commands_own() {
    let place = Place::new();
    let script = "script -qec '$TELLHAL run -t job -- sh -c \"test -t 0 && test -t 1 && test -t 2 && echo a terminal\"' /dev/null";
    let output = place.shell(script).output().unwrap();
    assert!(stdout(&output).contains("a terminal"), "{output:?}");
    assert_eq!(place.bodies()[1]["status"], "succeeded");
}

#[test]
fn signals_sent_to_us_reach_the_command_and_its_group_is_ours() {
    let place = Place::new();
    // It waits in short steps: some shells run a trap only when what they wait for has ended, and a signal may come at any time.
    let script = "trap 'echo got TERM; exit 5' TERM; trap 'echo got USR1' USR1; cut -d' ' -f5 /proc/$$/stat; \
                  for i in $(seq 900); do sleep 0.1; done";
    let mut child = place
        .tellhal(&["run", "-t", "job", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let group = line(child.stdout.as_mut().unwrap());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let ours = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap().to_owned();
    assert_eq!(group, ours);
    let send = |signal: &str, child: &std::process::Child| {
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    };
    send("-USR1", &child);
    assert_eq!(line(child.stdout.as_mut().unwrap()), "got USR1");
    send("-TERM", &child);
    assert_eq!(line(child.stdout.as_mut().unwrap()), "got TERM");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(place.bodies()[1]["run"]["exit"], 5);
}

#[test]
fn a_signal_that_the_caller_ignores_is_ignored_by_the_command() {
    let place = Place::new();
    let script = "trap '' HUP; $TELLHAL run -t job -- sh -c 'kill -HUP $$; echo alive'";
    let output = place.shell(script).output().unwrap();
    assert_eq!((status(&output), stdout(&output).trim()), (0, "alive"), "{output:?}");
}

#[test]
fn a_gigabyte_of_output_takes_bounded_memory() {
    let place = Place::new();
    // Less memory than output; the threads' stacks are in it too.
    let script = "ulimit -v 500000; $TELLHAL run -t job --output -- head -c 1073741824 /dev/zero | wc -c";
    let output = place.shell(script).output().unwrap();
    assert_eq!(stdout(&output).trim(), "1073741824", "{output:?}");
    assert!(place.bodies()[1]["run"]["cut"].as_u64().unwrap() > 1_000_000_000);
}

#[test]
fn a_command_that_closes_its_output_or_leaves_a_daemon_is_not_waited_for_in_vain() {
    let place = Place::new();
    let closed =
        place.tellhal(&["run", "-t", "job", "--", "sh", "-c", "exec >&- 2>&-; exit 4"]).output().unwrap();
    assert_eq!(status(&closed), 4);
    let start = std::time::Instant::now();
    let mut daemon = place.tellhal(&["run", "-t", "job", "--output", "--", "sh", "-c", "sleep 60 & echo $!"]);
    let output = daemon.output().unwrap();
    assert_eq!(status(&output), 0);
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "it waited for the daemon");
    let pid = stdout(&output).trim().to_owned();
    std::process::Command::new("kill").arg(&pid).status().unwrap();
    assert_eq!(place.bodies()[3]["text"], pid);
}

#[test]
fn a_reader_that_is_gone_ends_the_command_as_it_would_without_us() {
    let place = Place::new();
    let script = "{ $TELLHAL run -t job -- yes; echo $? >status; } | head -1; cat status";
    let output = place.shell(script).current_dir(place.dir.path()).output().unwrap();
    assert_eq!(stdout(&output), "y\n141\n");
    assert_eq!(place.bodies()[1]["run"]["signal"], 13);
}

#[test]
fn without_a_server_the_command_runs_and_both_messages_are_kept() {
    let mut place = Place::new();
    place.server.kill();
    let (status, stderr) = ended(&mut place.tellhal(&["run", "-t", "job", "--", "sh", "-c", "exit 3"]));
    assert_eq!(status, 3);
    assert_eq!(stderr.lines().count(), 1, "the reason is stderr once: {stderr}");
    assert!(stderr.contains("cannot reach") && stderr.contains("kept in"), "{stderr}");
    assert_eq!(place.spooled("new").len(), 2);
    place.restart_server();
    assert_eq!(ended(&mut place.tellhal(&["flush"])), (0, String::new()));
    let statuses: Vec<_> = place.bodies().iter().map(|body| body["status"].clone()).collect();
    assert_eq!(statuses, ["started", "failed"]);
}

#[test]
fn a_stopped_server_delays_neither_start_nor_end_by_more_than_the_budget() {
    let mut place = Place::new();
    place.pause_server();
    let start = std::time::Instant::now();
    let (status, stderr) =
        ended(place.tellhal(&["run", "-t", "job", "--", "true"]).env("TELLHAL_TIMEOUT", "60s"));
    assert_eq!(status, 0);
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "it waited for the server");
    assert!(stderr.contains("did not answer before the command ended"), "{stderr}");
    assert_eq!(place.spooled("new").len(), 2);
    place.server.process().resume();
}

#[test]
fn a_message_that_cannot_be_kept_is_reported_and_the_status_is_still_the_commands() {
    let place = Place::new();
    let (status, stderr) = ended(
        place
            .tellhal(&["--spool", "/proc/none", "run", "-t", "job", "--", "sh", "-c", "exit 3"])
            .env("TELLHAL_URL", "nats://127.0.0.1:1"),
    );
    assert_eq!(status, 3);
    assert!(stderr.contains("not kept"), "{stderr}");
}

#[test]
fn a_command_that_cannot_be_watched_for_want_of_files_runs_all_the_same() {
    let place = Place::new();
    let script = "ulimit -n 5; exec $TELLHAL run --output -t job -- sh -c 'echo ran; exit 3'";
    let output = place.shell(script).output().unwrap();
    assert_eq!((status(&output), stdout(&output).as_str()), (3, "ran\n"));
    assert!(stderr(&output).contains("the command runs without tellhal"), "{}", stderr(&output));
}

#[test]
fn a_script_without_an_interpreter_runs_as_under_nice_and_timeout() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let script = place.path("plain job");
    std::fs::write(&script, "echo \"$# $1\"; exit 3\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("/none:{}:{}", place.dir.path().display(), std::env::var("PATH").unwrap());
    for name in [script.to_str().unwrap(), "plain job", "./plain job"] {
        let mut command = place.tellhal(&["run", "--output", "-t", "job", "--", name, "two words", "x"]);
        let output = command.env("PATH", &path).current_dir(place.dir.path()).output().unwrap();
        assert_eq!((status(&output), stdout(&output).as_str()), (3, "2 two words\n"), "{output:?}");
        let last = place.bodies().pop().unwrap();
        assert_eq!((&last["run"]["command"], &last["text"]), (&"plain job".into(), &"2 two words".into()));
    }
}

#[test]
fn a_command_that_dies_of_an_interrupt_ends_tellhal_in_the_same_way_after_its_message() {
    let place = Place::new();
    let died = |script: &str| {
        let output = place.tellhal(&["run", "-t", "job", "--", "sh", "-c", script]).output().unwrap();
        (status(&output), place.bodies().pop().unwrap()["run"].clone())
    };
    let (status, run) = died("kill -INT $$");
    assert_eq!((status, &run["signal"]), (-2, &2.into()));
    // Other ends are told by the status alone.
    let (status, run) = died("exit 130");
    assert_eq!((status, &run["exit"]), (130, &130.into()));
    assert_eq!(died("kill -TERM $$").0, 128 + 15);
}
