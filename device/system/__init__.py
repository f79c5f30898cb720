"""The box beneath: its clock, disk, memory, locks and systemd."""
