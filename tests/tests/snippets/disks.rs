//! Disks: smartd with a disk that says it is failing, mdadm's monitor, a zedlet.

use std::process::Command;

use tests::find;

use super::scene::{Scene, sh, text_of};

/// smartd's requests to an NVMe disk are answered as by one whose reliability is degraded: no test machine has such a disk.
const DISK: &str = r#"
#include <sys/ioctl.h>
#include <linux/nvme_ioctl.h>
#include <stdarg.h>
#include <string.h>
int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  struct nvme_passthru_cmd *command = va_arg(rest, void *);
  va_end(rest);
  if (request == NVME_IOCTL_ID) return 1;
  if (request != NVME_IOCTL_ADMIN_CMD) return -1;
  unsigned char *data = (unsigned char *)(unsigned long)command->addr;
  memset(data, 0, command->data_len);
  if (command->opcode == 0x06) {
    memcpy(data + 4, "S1234567            ", 20);
    memcpy(data + 24, "Example SSD 1TB                         ", 40);
    memcpy(data + 64, "1.0     ", 8);
  }
  if (command->opcode == 0x02) data[0] = 4;
  return 0;
}
"#;

#[tokio::test]
async fn smartd_tells_a_test_and_a_failing_disk() {
    let scene = Scene::start().await;
    std::fs::write(scene.path("disk.c"), DISK).unwrap();
    scene.sh("cc -shared -fPIC -o disk.so disk.c && touch nvme0").await;
    scene.install("smartd/tellhal-smartd", &[]);
    let disk = format!("{} -d nvme", scene.at("nvme0"));
    let config = scene.install("smartd/smartd.conf", &[("DEVICESCAN", &disk)]);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{} -M test\n", text.trim_end())).unwrap();
    let mut smartd = Command::new(find::theirs("smartd"));
    smartd.args(["-q", "onecheck", "-d", "-c"]).arg(&config);
    smartd.arg("-s").arg(scene.path("state")).arg("-A").arg(scene.path("attributes"));
    let output = scene.run(smartd.env("LD_PRELOAD", scene.path("disk.so"))).await;
    assert_eq!(text_of(&output).matches(": successful").count(), 2, "{}", text_of(&output));
    scene.shows("smartd", &[("/dev/nvme0", &scene.at("nvme0"))]).await;
}

#[tokio::test]
async fn mdadm_tells_an_array_that_is_gone() {
    let scene = Scene::start().await;
    scene.install("mdadm/tellhal-mdadm", &[]);
    let config = scene.install("mdadm/mdadm.conf", &[]);
    // There is no such array, so that the monitor sees it disappear.
    let mut mdadm = Command::new(find::theirs("mdadm"));
    mdadm.args(["--monitor", "--test", "--oneshot", "--config"]).arg(config).arg("/dev/md127");
    let output = scene.run(&mut mdadm).await;
    assert!(output.status.success(), "{}", text_of(&output));
    // The events of a disk that fails and is replaced need a real array.
    let call = |event: &str| sh(&format!("./tellhal-mdadm {event}"));
    for event in ["Fail /dev/md127 /dev/sdb1", "Rebuild20 /dev/md127", "SpareActive /dev/md127 /dev/sdc1"] {
        assert!(scene.run(&mut call(event)).await.status.success());
    }
    scene.shows("mdadm", &[]).await;
}

#[tokio::test]
async fn a_zedlet_tells_a_faulted_disk_and_that_it_is_back() {
    let scene = Scene::start().await;
    scene.install("zed/statechange-tellhal.sh", &[]);
    for state in ["FAULTED", "ONLINE"] {
        let mut zedlet = sh("./statechange-tellhal.sh");
        zedlet.env("ZEVENT_CLASS", "resource.fs.zfs.statechange").env("ZEVENT_SUBCLASS", "statechange");
        zedlet.env("ZEVENT_POOL", "tank").env("ZEVENT_POOL_GUID", "0x4f0c7a1e9b2d8356");
        zedlet.env("ZEVENT_VDEV_PATH", "/dev/sdb1").env("ZEVENT_VDEV_STATE_STR", state);
        assert!(scene.run(&mut zedlet).await.status.success());
    }
    scene.shows("ZED", &[]).await;
}
