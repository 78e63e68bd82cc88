"""Who drives the device: product numbers, and what their build numbers mean.

Law: xen/include/public/hvm/pvdrivers.h (the registry of product numbers) and the drivers' own sources for the
builds. A driver writes its product as a word to port 0x12 and its build as a dword to port 0x10::

    cpu_out addr 0x12(w) value 3
    cpu_out addr 0x10(l) value 1
"""

from __future__ import annotations

PRODUCTS: dict[int, str] = {
    1: "xensource-windows",
    2: "gplpv-windows",
    3: "linux",
    4: "xenserver-windows-v7.0+",
    5: "xenserver-windows-v7.2+",
    205: "vmdp (unregistered)",
    0xFFFF: "experimental",
}
"""Product number to the name registered in pvdrivers.h; 205 is sent by SUSE VMDP without being registered."""


LINUX: int = 3
LINUX_BUILDS: range = range(0x100)
"""Builds that go with Linux' product and are Linux'; from 0x100 on they hold a PCI device id, and are XenServer's."""


def describe_driver(product: int | None, build: int | None) -> str:
    """Name in words the driver that sends this product and build; either may be missing.

    The name is an inference from two numbers that the guest chose; another driver may send the same ones.
    """
    if product is None:
        return "names no product"
    if product == LINUX:
        if build is None or build in LINUX_BUILDS:
            return "Linux"
        return f"XenServer 6.1/6.2 Windows (device id 0x{build >> 8:04x}, revision {build & 0xFF})"
    if product == 0xFFFF:
        if build is None:
            return "experimental (Windows PV or xenlinux)"
        if build & 0xFF == 0 and build >> 24 in (2, 3):  # LINUX_VERSION_CODE << 8
            return f"xenlinux {build >> 24}.{build >> 16 & 0xFF}.{build >> 8 & 0xFF}"
        return f"Windows PV (xenbus) {build >> 16}.{build >> 8 & 0xFF}.{build & 0xFF}"
    if product in (4, 5) and build is not None:
        return f"XenServer Windows (device id 0x{build >> 8:04x}, revision {build & 0xFF})"
    known = {1: "Citrix legacy Windows", 2: "GPLPV", 4: "XenServer Windows", 5: "XenServer Windows", 205: "SUSE VMDP"}
    return known.get(product, f"unregistered product {product}")
