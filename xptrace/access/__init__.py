"""From records to accesses: what the guest did, once, whoever told of it and how often."""
