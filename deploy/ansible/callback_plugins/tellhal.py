"""Tells how a playbook ended, through the command tellhal: one message a run, whatever the number of hosts.

It never fails or delays a play: errors are a warning of Ansible's, and tellhal's process group is killed after two seconds.
"""

import json
import os
import shutil
import signal
import subprocess
import time

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: tellhal
type: notification
short_description: tells how a playbook ended
description:
  - A run with failed or unreachable hosts is told once, at its end, with the task, its place and the reason of each host.
  - When all of these hosts have run the playbook well, it is told as resolved, with the same key.
  - Ignored and rescued failures are none, and check mode is not told.
requirements:
  - enabled in ansible.cfg, callbacks_enabled = tellhal
options:
  tag:
    description: Tag of the messages.
    default: ansible.run
    env: [{name: TELLHAL_ANSIBLE_TAG}]
    ini: [{section: callback_tellhal, key: tag}]
  severity:
    description: Severity of a failure and of its end, so that the same rooms get both.
    default: error
    env: [{name: TELLHAL_ANSIBLE_SEVERITY}]
    ini: [{section: callback_tellhal, key: severity}]
  success:
    description: Tell each success (true), those that changed something (changes), or only those that end a failure (false).
    default: "false"
    env: [{name: TELLHAL_ANSIBLE_SUCCESS}]
    ini: [{section: callback_tellhal, key: success}]
  key:
    description: Key of the messages; ansible and the playbook's path when empty, so that playbooks of one name are told apart.
    default: ""
    env: [{name: TELLHAL_ANSIBLE_KEY}]
    ini: [{section: callback_tellhal, key: key}]
  program:
    description: The command.
    default: tellhal
    env: [{name: TELLHAL_ANSIBLE_PROGRAM}]
    ini: [{section: callback_tellhal, key: program}]
  state:
    description: File that remembers the hosts that failed.
    default: ~/.ansible/tellhal.json
    env: [{name: TELLHAL_ANSIBLE_STATE}]
    ini: [{section: callback_tellhal, key: state}]
"""

# Seconds for tellhal, which needs them only if the server hangs.
LIMIT = 2.0
# Hosts that one message lists, and characters of one reason.
LISTED, REASON = 10, 400
# Seconds after which a failure is forgotten: its host is gone, or nobody runs the playbook any more.
FORGOTTEN = 30 * 86400
FOLDERS = ["/usr/local/bin", "/usr/bin", "/bin"]


class CallbackModule(CallbackBase):
    """The callback plugin."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tellhal"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.playbook = "playbook"
        # Other folders may have a playbook of this name.
        self.path = "/playbook"
        # The last failure of each host, until the end tells whether it was one.
        self.reasons = {}

    def v2_playbook_on_start(self, playbook):
        self.path = os.path.realpath(getattr(playbook, "_file_name", None) or "playbook")
        self.playbook = os.path.basename(self.path)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            self._safely(lambda: self._note(result, "failed"))

    def v2_runner_on_unreachable(self, result):
        self._safely(lambda: self._note(result, "unreachable"))

    def v2_playbook_on_stats(self, stats):
        if not context.CLIARGS.get("check"):
            self._safely(lambda: self._end(stats))

    def _safely(self, action):
        try:
            action()
        except Exception as error:  # pylint: disable=broad-except
            self._display.warning("tellhal: %s: %s" % (type(error).__name__, error))

    def _note(self, result, kind):
        task = result._task
        # path:line, from the playbook's folder.
        place = task.get_path() or ""
        place = os.path.relpath(place) if place else ""
        where = "%s (%s)" % (task.get_name().strip(), place) if place else task.get_name().strip()
        where = "unreachable at %s" % where if kind == "unreachable" else where
        self.reasons[result._host.get_name()] = (where, reason(result._result))

    def _end(self, stats):
        bad = sorted(host for host in stats.processed if stats.failures.get(host) or stats.dark.get(host))
        well = [host for host in stats.processed if host not in bad]
        state = State(os.path.expanduser(self.get_option("state")), self.path)
        if bad:
            self._tell_failure(bad, stats)
            state.failed(bad, well)
        elif state.failing:
            state.well(well)
            text = "All hosts that had failed since %s are well." % since(state.first)
            title = "%s is well again" % self.playbook
            # What could not be told is told by the next good run.
            if not state.failing and not self._tell("resolved", self.get_option("severity"), title, text):
                return
        elif self._success_is_told(stats):
            changed = sum(stats.changed.values())
            self._tell("succeeded", "info", "%s succeeded" % self.playbook, "%d changed" % changed)
        state.save()

    def _success_is_told(self, stats):
        wanted = str(self.get_option("success")).lower()
        return any(stats.changed.values()) if wanted == "changes" else wanted in ("true", "yes", "1")

    def _tell_failure(self, bad, stats):
        all_hosts = len(stats.processed)
        if len(bad) == 1:
            where, why = self.reasons.get(bad[0], ("", ""))
            title = "%s failed on %s: %s" % (self.playbook, bad[0], where) if where else "%s failed on %s" % (self.playbook, bad[0])
            text = why
        else:
            title = "%s failed on %d of %d hosts" % (self.playbook, len(bad), all_hosts)
            text = "\n".join("%s: %s: %s" % ((host,) + self.reasons.get(host, ("", ""))) for host in bad[:LISTED])
            if len(bad) > LISTED:
                text += "\nand %d more" % (len(bad) - LISTED)
        self._tell("failed", self.get_option("severity"), title, text)

    def _tell(self, status, severity, title, text):
        """True if tellhal has kept the message."""
        program = self.get_option("program")
        path = shutil.which(program) or shutil.which(program, path=os.pathsep.join(FOLDERS))
        if not path:
            self._display.warning("tellhal: %s is not installed" % program)
            return False
        key = self.get_option("key") or "ansible%s" % self.path
        command = [path, "-t", self.get_option("tag"), "-s", severity, "--status", status, "--key", key,
                   "--title", one_line(title), "-p", "-e"]
        # The text goes through a pipe: it may hold what no other user should see in the list of processes.
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 start_new_session=True)
        try:
            said = child.communicate(text.encode("utf-8", "replace"), timeout=LIMIT)[1]
            if child.returncode or said:
                self._display.warning("tellhal: %s" % one_line(said.decode("utf-8", "replace")))
            return child.returncode == 0
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            self._display.warning("tellhal: no end within %s s" % LIMIT)
            return False


class State:
    """The hosts on which a playbook failed and has not run well since, with the times of their first failure."""

    def __init__(self, path, playbook):
        self.path, self.playbook, self.changed = path, playbook, False
        try:
            with open(path, encoding="utf-8") as file:
                self.all = json.load(file)
            hosts = self.all.get(playbook, {}).items()
            self.failing = {host: at for host, at in hosts if 0 <= time.time() - at < FORGOTTEN}
        except (OSError, ValueError, AttributeError, TypeError):
            self.all, self.failing = {}, {}
        self.first = min(self.failing.values(), default=time.time())

    def failed(self, bad, well):
        """Some hosts have failed, others have not."""
        self.well(well)
        for host in bad:
            self.failing.setdefault(host, time.time())
        self.changed = True

    def well(self, hosts):
        """These hosts have run the playbook to its end."""
        self.changed = True
        for host in hosts:
            self.failing.pop(host, None)

    def save(self):
        """Replaces the file, if there is something new."""
        if not self.changed:
            return
        self.all[self.playbook] = self.failing
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        new = "%s.%d" % (self.path, os.getpid())
        with open(new, "w", encoding="utf-8") as file:
            json.dump(self.all, file)
        os.replace(new, self.path)


def reason(result):
    """The reason of a failure, or the reasons of a loop's items."""
    items = [item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    if items and "censored" not in result:
        texts = ["%s: %s" % (item.get("item"), reason(item)) for item in items[:3]]
        return "; ".join(texts)[:REASON]
    for key in ("censored", "msg", "stderr", "stdout", "exception", "reason"):
        text = str(result.get(key) or "").strip()
        # The module command says no more than this.
        if text and text != "non-zero return code":
            return one_line(text)[:REASON]
    return "return code %s" % result["rc"] if "rc" in result else "no reason was given"


def one_line(text):
    """The text without line ends."""
    return " ".join(str(text).split())


def since(seconds):
    """A time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
