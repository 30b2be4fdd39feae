"""Which addresses a machine must not reach by way of this host: its own, private, link-local and special ones."""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = (
    ipaddress.ip_network("64:ff9b:1::/48"),  # translation within a site. Source: RFC 8215
    ipaddress.ip_network("168.63.129.16/32"),  # the hypervisor's services in Azure, under a public address
)


def why_unreachable(address: str) -> str | None:
    """Why a machine may not reach an address; None when it may. Raises: `ValueError` when it is none."""
    inner = _inner(ipaddress.ip_address(address.partition("%")[0]))
    if not inner.is_global or inner.is_multicast or inner.is_reserved or any(inner in net for net in _REFUSED):
        return "it is no public address"
    return "it is this machine's own address" if _is_own(inner) else None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _is_own(address: Address) -> bool:
    """Only an interface's own address can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
