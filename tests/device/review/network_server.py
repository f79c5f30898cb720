"""The pages as they are on a network, served on loopback alone: tests open nothing to others.

`python -m tests.device.review.network_server SETTINGS` does what `millsight review --host 0.0.0.0`
does, but for the address it listens at.
"""

import ipaddress
import sys
from pathlib import Path

import uvicorn

from config.load import load_settings
from device.review.app import make_app
from device.review.cli import address_of, listen

if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]))
    listener = listen(ipaddress.ip_address("127.0.0.1"), 0)
    app = make_app(settings, "0.0.0.0")
    print(f"review page: {address_of(listener)}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])
