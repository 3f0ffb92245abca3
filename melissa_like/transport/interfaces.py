"""The network interfaces of this host and their addresses, as the kernel tells them (rtnetlink).

Asked of the kernel and not of /sys: that shows the network of whoever mounted it, which in a container may be another.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

__all__ = ["Interface", "interfaces", "read_interfaces"]

_TIMEOUT_S = 5.0
_ANSWER_NBYTES = 2**17
_HEADER = struct.Struct("=IHHII")  # length, type, flags, number, sender
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, hardware, index, flags, changed flags
_ADDRESS = struct.Struct("=BBBBI")  # family, bits of the network, flags, scope, index
_DUMP = 0x301  # a request for all there are
_ERROR, _DONE, _NEW_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS = 2, 3, 16, 18, 20, 22
_UP, _LOOPBACK = 0x1, 0x8
_LINK_NAME, _LINK_INFO, _LINK_KIND = 3, 18, 1
_PEER_OR_OWN, _OWN = 1, 2
_NOT_USABLE = 0x08 | 0x40  # taken by another host, or not yet known whether it is
_SCOPE_LINK = 253
#: What leads to containers, virtual machines or a private tunnel, and seldom to another node.
_ASIDE = ("bridge", "dummy", "tun", "vxlan", "wireguard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface.

    Attributes:
        addresses: those under which other hosts may reach it, of IPv4 first; none that needs a scope.
        kind: how the kernel calls it if it is virtual, such as `bridge` or `veth`; else empty.
    """

    name: str
    addresses: tuple[str, ...]
    is_up: bool = True
    is_loopback: bool = False
    kind: str = ""

    @property
    def is_aside(self) -> bool:
        """Whether it seldom leads to another node."""
        return self.kind in _ASIDE

    def __str__(self) -> str:
        told = ", ".join(self.addresses) or "no address"
        return f"{self.name} ({told if self.is_up else f'{told}; down'})"


def interfaces() -> tuple[Interface, ...]:
    """Those of this host, in the kernel's order.

    Raises:
        OSError: the kernel does not tell.
    """
    return read_interfaces(_ask(_GET_LINK), _ask(_GET_ADDRESS))


def read_interfaces(links: Sequence[bytes], addresses: Sequence[bytes]) -> tuple[Interface, ...]:
    """What the kernel's answers say.

    Args:
        links: messages RTM_NEWLINK without their headers.
        addresses: messages RTM_NEWADDR without their headers.
    """
    by_index: dict[int, list[str]] = {}
    for message in addresses:
        _, _, flags, scope, index = _ADDRESS.unpack_from(message)
        told = dict(_attributes(message[_ADDRESS.size :]))
        packed = told.get(_OWN, told.get(_PEER_OR_OWN, b""))
        if not packed or flags & _NOT_USABLE or (len(packed) > 4 and scope == _SCOPE_LINK):
            continue
        by_index.setdefault(index, []).append(str(ip_address(packed)))
    found = []
    for message in links:
        _, _, index, flags, _ = _LINK.unpack_from(message)
        told = dict(_attributes(message[_LINK.size :]))
        kind = dict(_attributes(told.get(_LINK_INFO, b""))).get(_LINK_KIND, b"")
        found.append(
            Interface(
                name=_text(told[_LINK_NAME]),
                addresses=tuple(sorted(by_index.get(index, ()), key=lambda address: ":" in address)),
                is_up=bool(flags & _UP),
                is_loopback=bool(flags & _LOOPBACK),
                kind=_text(kind),
            )
        )
    return tuple(found)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and values, each of which begins at a multiple of four bytes."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[-(-length // 4) * 4 :]


def _ask(what: int) -> list[bytes]:
    """The messages of the answer to one question, without their headers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(_HEADER.pack(_HEADER.size + 4, what, _DUMP, 1, 0) + bytes(4))
        answers: list[bytes] = []
        while True:
            data = kernel.recv(_ANSWER_NBYTES)
            while data:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return answers
                if kind == _ERROR:
                    code = struct.unpack_from("=i", data, _HEADER.size)[0]
                    raise OSError(-code, "the kernel does not tell its network interfaces")
                if kind in (_NEW_LINK, _NEW_ADDRESS):
                    answers.append(data[_HEADER.size : length])
                data = data[-(-length // 4) * 4 :]
