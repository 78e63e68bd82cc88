"""The protocol of the Xen platform device, declared once: registers, products, config space, scapy layers."""
