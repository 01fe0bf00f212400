#!/bin/sh
# A zedlet, in /etc/zfs/zed.d: tells when a part of a pool changes its state. The name's first word is the kind of event.
pool=${ZEVENT_POOL:-$ZEVENT_POOL_GUID} device=${ZEVENT_VDEV_PATH:-$ZEVENT_VDEV_GUID}
case $ZEVENT_VDEV_STATE_STR in
ONLINE) set -- -s error --status resolved ;;
OFFLINE) set -- -s notice ;;
*) set -- -s error --status failed ;;
esac
/usr/bin/tellhal -t disk.zfs "$@" --key "zfs/$pool/$device" -- "$device of the pool $pool is ${ZEVENT_VDEV_STATE_STR:-changed}"
exit 0
