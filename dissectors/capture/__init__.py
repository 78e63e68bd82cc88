"""Recorded traffic: what was decoded, as packets that scapy, Wireshark and whatever else reads pcapng can take."""
