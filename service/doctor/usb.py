"""Edge TPUs on USB: firmware, speed of the port, power."""

from service.doctor.check import OK, SKIP, WARN, Check
from service.doctor.devices import NEW, Found
from service.doctor.machine import Machine

_USB3 = 5000  # Mbit/s


def check_sticks(found: Found) -> Check:
    """Whether the firmware is loaded, by the id."""
    if not found.sticks:
        return Check("usb stick", SKIP, "no Edge TPU on USB")
    shown = ", ".join(f"{stick.slot} as {':'.join(stick.ids)}" for stick in found.sticks)
    if any(stick.ids == NEW for stick in found.sticks):
        meaning = "the firmware is not loaded yet; the first program that opens it does that, and the id changes"
        return Check("usb stick", OK, shown, meaning)
    return Check("usb stick", OK, shown, "the firmware is loaded")


def check_speed(found: Found) -> Check:
    """Megabits a second of the port."""
    known = [stick for stick in found.sticks if stick.speed]
    if not known:
        return Check("usb speed", SKIP, "no Edge TPU on USB" if not found.sticks else "the kernel doesn't say")
    shown = ", ".join(f"{stick.slot}: {stick.speed:g} Mbit/s" for stick in known)
    if any(stick.speed < _USB3 for stick in known):
        meaning = "that is USB 2: pictures and weights take about ten times as long on the way"
        return Check("usb speed", WARN, shown, meaning, "a blue USB 3 port, without a USB 2 hub or cable in between")
    return Check("usb speed", OK, shown)


def check_power(machine: Machine) -> Check:
    """Over-current that the ports counted, and under-voltage where a Raspberry Pi tells."""
    counted = {
        path.parent.name: machine.read(machine.shown(path))
        for path in machine.glob("/sys/bus/usb/devices/*/*-port*/over_current_count")
    }
    over = {port: count for port, count in counted.items() if count not in (None, "", "0")}
    if over:
        shown = ", ".join(f"{port}: {count} times" for port, count in over.items())
        remedy = "a powered hub, or a stronger supply: an Edge TPU takes up to 900 mA"
        return Check("power", WARN, f"over-current at {shown}", "the port can't give what is drawn", remedy)
    alarms = [
        machine.read(machine.shown(path.with_name("in0_lcrit_alarm")))
        for path in machine.glob("/sys/class/hwmon/hwmon*/name")
        if machine.read(machine.shown(path)) == "rpi_volt"
    ]
    if "1" in alarms:
        meaning = "the voltage of the board is or was too low: it slows down, and USB devices drop out"
        return Check("power", WARN, "under-voltage", meaning, "a stronger supply and a short, thick cable")
    if not counted and not alarms:
        return Check("power", SKIP, "neither ports nor board tell about their power here")
    return Check("power", OK, "no over-current" if counted else "no under-voltage")
