"""The Edge TPUs the kernel knows of, as far as /sys tells."""

from typing import List, NamedTuple

from service.doctor.machine import Machine

PCI_ID = ("0x1ac1", "0x089a")
NEW, LOADED = ("1a6e", "089a"), ("18d1", "9302")  # a USB stick before and after its firmware is loaded


class Stick(NamedTuple):
    """A USB Accelerator. slot : like 2-2; ids : vendor, product; speed : Mbit/s, 0 if unknown; node : below /dev/bus"""

    slot: str
    ids: tuple
    speed: float
    node: str


class Found(NamedTuple):
    """apex : nodes of the driver, like /dev/apex_0; cards : PCI addresses, driver or not; sticks : on USB"""

    apex: List[str]
    cards: List[str]
    sticks: List[Stick]

    def __str__(self) -> str:
        cards = [f"PCIe card {card}" for card in self.cards] if not self.apex else []
        return ", ".join([*self.apex, *cards, *(f"usb {stick.slot}" for stick in self.sticks)])

    def __bool__(self) -> bool:
        return bool(self.apex or self.cards or self.sticks)

    @property
    def nodes(self) -> List[str]:
        """What has to be opened."""
        return [*self.apex, *(stick.node for stick in self.sticks)]


def find(machine: Machine) -> Found:
    """The Edge TPUs of a machine."""
    apex = ["/dev/" + entry.name for entry in machine.glob("/sys/class/apex/apex_[0-9]*")]
    cards = [
        entry.name
        for entry in machine.glob("/sys/bus/pci/devices/*")
        if (machine.read(machine.shown(entry / "vendor")), machine.read(machine.shown(entry / "device"))) == PCI_ID
    ]
    slots = [entry.name for entry in machine.glob("/sys/bus/usb/devices/*")]
    sticks = [stick for stick in (_stick(machine, slot) for slot in slots) if stick.ids in (NEW, LOADED)]
    return Found(apex, cards, sticks)


def _stick(machine: Machine, slot: str) -> Stick:
    def fact(name: str) -> str:
        return machine.read(f"/sys/bus/usb/devices/{slot}/{name}") or ""

    def number(name: str) -> float:
        try:
            return float(fact(name))
        except ValueError:
            return 0.0

    node = f"/dev/bus/usb/{int(number('busnum')):03d}/{int(number('devnum')):03d}"
    return Stick(slot, (fact("idVendor"), fact("idProduct")), number("speed"), node)
