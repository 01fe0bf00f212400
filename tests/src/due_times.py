"""The due times of schedules, by Python's own calendar and zones: an independent answer to hal-bridge's.

Reads a JSON list of schedules (zone, at and days, or cron) with from and until on standard input, and prints the list of their
due times in seconds since 1970. A time that a change of the clocks skips is due at the change; one that comes twice, the first
time. A cron pattern with a wildcard, a range or a step in its hours or minutes goes by
the clock on the wall.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

UTC = timezone.utc


def instant(civil, zone):
    """The first second at which the clocks show this time or, if they skip it, show a later one."""
    at = civil.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == civil:
        return int(at.timestamp())
    second = int(at.timestamp()) - 4 * 3600
    while datetime.fromtimestamp(second, zone).replace(tzinfo=None) < civil:
        second += 1
    return second


def field(text, least, most):
    """The values of a field of a cron pattern."""
    values = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        first, last = (least, most) if part == "*" else map(int, (part.split("-") * 2)[:2])
        values.update(range(first, last + 1, int(step or 1)))
    return values


def daily(schedule, zone, start, end):
    hour, minute = map(int, schedule["at"].split(":"))
    day = datetime.fromtimestamp(start, zone).date() - timedelta(days=1)
    while True:
        due = instant(datetime(day.year, day.month, day.day, hour, minute), zone)
        if due > end:
            return
        if due > start and day.weekday() in schedule["days"]:
            yield due
        day += timedelta(days=1)


def cron(schedule, zone, start, end):
    minutes, hours, _, _, weekdays = schedule["cron"].split()
    days = {day % 7 for day in field(weekdays, 0, 6)}
    if not set("*-/") & set(minutes + hours):
        for hour in field(hours, 0, 23):
            for minute in field(minutes, 0, 59):
                same = {"at": f"{hour}:{minute}", "days": [(day - 1) % 7 for day in days]}
                yield from daily(same, zone, start, end)
        return
    minutes, hours = field(minutes, 0, 59), field(hours, 0, 23)
    for due in range(start - start % 60 + 60, end + 1, 60):
        at = datetime.fromtimestamp(due, zone)
        if at.minute in minutes and at.hour in hours and at.isoweekday() % 7 in days:
            yield due


def due(schedule):
    zone = ZoneInfo(schedule["zone"])
    times = cron if "cron" in schedule else daily
    return sorted(set(times(schedule, zone, schedule["from"], schedule["until"])))


json.dump([due(schedule) for schedule in json.load(sys.stdin)], sys.stdout)
