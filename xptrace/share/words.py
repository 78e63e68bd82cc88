"""The words that recordings share with everybody's: those of the formats and of the protocol, which tell nobody apart.

Law: QEMU's trace events and names of devices and memory regions; docs/misc/xenstore-paths.pandoc and
xen/include/public/io/*.h for nodes of xenstore; libxl and xl for what they say. Whatever is not here is taken for
somebody's own word. A guest's free text keeps none of them.
"""

from __future__ import annotations

from typing import Final

_LISTED: Final = (
    # nodes of xenstore
    """
    local domain device backend frontend control platform data attr hvmloader libxl tool vm error drivers store
    vbd vbd3 vif qdisk qnic console vkbd vfb vusb qusb pci vtpm 9pfs tap phy file aio qcow qcow2 vhd raw disk cdrom
    state name id type mode online params physical dev bootable removable discard granularity enable specification
    sectors sector size info feature features max ring ref page order queue queues multi event channel port tty
    w r limit output virtual hotplug status handle mac bridge script ip shutdown reason suspend poweroff reboot halt s3
    s4 acpi sysrq laptop slate watchdog balloon xs reset updated has vendor device-model model xenserver vm-data memory
    target static min videoram uuid domid cpu availability image dm pid xend restart path key token node watch
    protocol x86_32 x86_64 abi persistent flush cache barrier indirect segments request rx tx copy notify gso tcpv4
    ipv4 tcpv6 csum offload ipv6 sg prefix smartpoll split channels hash toeplitz ctrl multicast rotate connected
    initialising initwait initialised closing closed reconfiguring reconfigured unknown xenbusstate
    xenbusstateunknown xenbusstateinitialising xenbusstateinitwait xenbusstateinitialised xenbusstateconnected
    xenbusstateclosing xenbusstateclosed xenbusstatereconfiguring xenbusstatereconfigured
    logdirty parameter command hdtype physmap start addr ioemu hda hdb hdc hdd xvda xvdb xvdc xvdd sda sdb hd xvd sd
    domain-0 discard-secure discard-alignment alignment secure xen none true false read write log throttling logd dirty
    """
    # QEMU: devices, memory regions, run states, block devices, network
    """
    qemu system i386 x86 64 main trace cpu kvm kv pio fixed mmio dma cont conf idx pvdevice vbe vga rtl8139 e1000 e1000e
    piix3 piix4 ide nvme ahci usb virtio net block blk scsi serial isa i440fx host function region io ioport
    debug inmigrate internal postmigrate prelaunch finish migrate paused save running suspended guest panicked colo
    driver qmp quit monitor signal ui reboot host-signal powerdown created destroyed vnc spice
    """
    # daemons, the toolstack, the hypervisor
    """
    kernel syslog daemon xenstored oxenstored xenconsoled xenopsd xc xapi xensource xenops hypervisor libvirt libvirtd
    rsyslogd imuxsock systemd journald info warn warning err error notice crit alert emerg kern user auth cron utc
    tracing mark print bsd netbsd entry begin end create destroy event callback devstate aoutils dom c domid unpause
    ao how poller nil process wanted ok still waiting restoring not running bootloader issuing request via xenbus node
    acknowledged didn acknowledge cancelling did timed out has suspended didnt action for code is needs to be cleaned
    up destroying the been die domain_unpause saving xl dmesg start resume hard_shutdown clean_shutdown clean_reboot
    resume_on hard_reboot pool_migrate migrate_send checkpoint snapshot
    """
    # names of files and folders
    """
    log logs var lib etc opt xen messages auth.log xl hypervisor guest access bugtool report dump out txt access.log
    old current pipe xenstore ls stderr stdout stdin
    """
)
WORDS: Final = frozenset(_LISTED.split())
"""All in small letters; a word with hyphens is one here if it is listed as such, else by its parts."""
